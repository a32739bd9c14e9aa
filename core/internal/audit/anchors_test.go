package audit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

func TestTamperingWithAnchors(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		for range 3 {
			write(t, s, 10)
			p.move(2 * minAge)
			_, err := s.Prune(t.Context(), minAge)
			require.NoError(t, err)
		}
		whole := verified(t, s)
		exec(t, s.db, "CREATE TABLE kept_rows AS SELECT * FROM audit_rows", "CREATE TABLE kept_anchors AS SELECT * FROM audit_anchors")
		first := whole.FirstSeq
		for name, test := range map[string]struct {
			change string
			seq    int64
			why    string
		}{
			"all deleted":           {"DELETE FROM audit_anchors", 1, "missing"},
			"newest deleted":        {"DELETE FROM audit_anchors WHERE n = 3", 22, "missing"},
			"oldest deleted":        {"DELETE FROM audit_anchors WHERE n = 1", 1, "anchor 1 is missing"},
			"middle deleted":        {"DELETE FROM audit_anchors WHERE n = 2", 11, "anchor 2 is missing"},
			"date edited":           {"UPDATE audit_anchors SET at = at - 1 WHERE n = 1", 10, "anchor 1"},
			"hash edited":           {"UPDATE audit_anchors SET hash = link WHERE n = 3", first - 1, "anchor 3"},
			"moved on":              {"UPDATE audit_anchors SET seq = seq + 1 WHERE n = 3", first, "anchor 3"},
			"the row of it deleted": {"DELETE FROM audit_rows WHERE action = 'audit.pruned'", first, "missing"},
			"a row put back":        {strings.Replace(insert(15)[0], "= 7", fmt.Sprint("= ", first), 1), 15, "before the beginning"},
		} {
			exec(t, s.db, test.change)
			report, err := s.Verify(t.Context(), Expect{})
			require.NoError(t, err, name)
			require.NotNil(t, report.Broken, name)
			require.Equal(t, test.seq, report.Broken.Seq, name)
			require.Contains(t, report.Broken.Why, test.why, name)
			exec(t, s.db, "DELETE FROM audit_anchors", "INSERT INTO audit_anchors SELECT * FROM kept_anchors",
				"DELETE FROM audit_rows", "INSERT INTO audit_rows SELECT * FROM kept_rows")
		}
		require.Equal(t, whole, verified(t, s))
	})
}

// Who removes a beginning and makes an anchor for it, in order, lacks the row that tells of it.
func TestAnAnchorNeedsItsRow(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 10)
		require.NoError(t, s.db.Transaction(func(tx *gorm.DB) error { return cutOff(tx, 4) }))
		told := Entry{Actor: itself(), Via: "evil", Action: ActionPruned, Outcome: Done}
		require.NoError(t, s.Write(t.Context(), told))
		report, err := s.Verify(t.Context(), Expect{})
		require.NoError(t, err)
		require.Equal(t, &Break{4, "no row tells that retention removed the rows up to here"}, report.Broken)
	})
}

// cutOff removes the rows up to seq and puts an anchor in their place, but for the row that tells of it.
func cutOff(tx *gorm.DB, seq int64) error {
	var last row
	if err := tx.Take(&last, "seq = ?", seq).Error; err != nil {
		return err
	}
	before, err := newestAnchor(tx)
	if err != nil {
		return err
	}
	a := anchor{N: before.N + 1, Seq: seq, Hash: last.Hash}
	a.Link = a.link(before.Link)
	return errors.Join(tx.Delete(&row{}, "seq <= ?", seq).Error, tx.Create(&a).Error)
}

// The row that tells of one removal does not do for another.
func TestAnAnchorNeedsARowOfItsOwn(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 10)
		p.move(2 * minAge)
		write(t, s, 5)
		_, err := s.Prune(t.Context(), minAge)
		require.NoError(t, err)
		require.EqualValues(t, 11, verified(t, s).FirstSeq)
		require.NoError(t, s.db.Transaction(func(tx *gorm.DB) error { return cutOff(tx, 13) }))
		report, err := s.Verify(t.Context(), Expect{})
		require.NoError(t, err)
		require.Equal(t, &Break{13, "no row tells that retention removed the rows up to here"}, report.Broken)
	})
}
