package audit

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/problem"
)

// exec runs SQL as somebody does who has the core's credentials.
func exec(t *testing.T, db *gorm.DB, statements ...string) {
	t.Helper()
	require.NoError(t, db.WithContext(t.Context()).Transaction(func(tx *gorm.DB) error {
		for _, statement := range statements {
			require.NoError(t, tx.Exec(statement).Error, statement)
		}
		return nil
	}))
}

// forge changes rows and makes their own hashes anew, and what was chained to them if all is set.
func forge(t *testing.T, db *gorm.DB, seq int64, all bool) {
	t.Helper()
	var rows []row
	require.NoError(t, db.Where("seq >= ?", seq).Order("seq").Find(&rows).Error)
	rows[0].Resource = "forged"
	end := head{Seq: seq - 1, Hash: rows[0].PrevHash}
	if !all {
		rows = rows[:1]
	}
	require.NoError(t, db.Where("seq >= ? AND seq < ?", seq, seq+int64(len(rows))).Delete(&row{}).Error)
	for i := range rows {
		rows[i].follow(end.Seq, end.Hash)
		end = head{ID: 1, Seq: rows[i].Seq, Hash: rows[i].Hash}
	}
	require.NoError(t, db.Create(&rows).Error)
	if all {
		require.NoError(t, db.Where("id = 1").Updates(&end).Error)
	}
}

// swap exchanges what stands in two columns of rows 1100 and 1101.
func swap(columns string) []string {
	var from []string
	for _, column := range strings.Split(columns, ",") {
		from = append(from, fmt.Sprintf("%s = (SELECT %s FROM audit_rows o WHERE o.seq = 2201 - audit_rows.seq)", column, column))
	}
	return []string{"UPDATE audit_rows SET " + strings.Join(from, ", ") + " WHERE seq IN (1100, 1101)"}
}

const everything = "at,actor_kind,actor_id,actor_name,via,action,resource,outcome,request_id,trace_id,address,details," +
	"cleaned,version,prev_hash,hash"

// tampering is of a chain of 1,300 rows.
func tampering() map[string]struct {
	change []string
	seq    int64
	why    string
} {
	return map[string]struct {
		change []string
		seq    int64
		why    string
	}{
		"first row edited":     {[]string{"UPDATE audit_rows SET outcome = 'denied' WHERE seq = 1"}, 1, "its content"},
		"last row edited":      {[]string{"UPDATE audit_rows SET at = at + 1 WHERE seq = 1300"}, 1300, "its content"},
		"hash edited":          {[]string{"UPDATE audit_rows SET hash = prev_hash WHERE seq = 1200"}, 1200, "its content"},
		"prev_hash edited":     {[]string{"UPDATE audit_rows SET prev_hash = hash WHERE seq = 1200"}, 1200, "its content"},
		"version edited":       {[]string{"UPDATE audit_rows SET version = 2 WHERE seq = 1200"}, 1200, "its version 2"},
		"moved within a row":   {[]string{"UPDATE audit_rows SET via = 'blo', action = 'gpost' WHERE seq = 9"}, 9, "its content"},
		"first row deleted":    {[]string{"DELETE FROM audit_rows WHERE seq = 1"}, 1, "missing"},
		"beginning deleted":    {[]string{"DELETE FROM audit_rows WHERE seq <= 1000"}, 1, "missing: the next row there is, is 1001"},
		"row deleted":          {[]string{"DELETE FROM audit_rows WHERE seq = 1100"}, 1100, "missing"},
		"page deleted":         {[]string{"DELETE FROM audit_rows WHERE seq > 200 AND seq <= 1200"}, 201, "missing"},
		"tail deleted":         {[]string{"DELETE FROM audit_rows WHERE seq > 1250"}, 1251, "missing: the chain goes up to 1300"},
		"all deleted":          {[]string{"DELETE FROM audit_rows"}, 1, "missing"},
		"row before the first": {insert(-5), -5, "before the beginning"},
		"row zero":             {insert(0), 0, "before the beginning"},
		"row after the last":   {insert(1301), 1301, "beyond the head"},
		"row far beyond":       {insert(99999), 99999, "beyond the head"},
		"rows renumbered": {[]string{
			"UPDATE audit_rows SET seq = -1 WHERE seq = 1100", "UPDATE audit_rows SET seq = 1100 WHERE seq = 1101",
			"UPDATE audit_rows SET seq = 1101 WHERE seq = -1",
		}, 1100, "its content"},
		"contents swapped":       {swap(everything), 1100, "its content"},
		"actors swapped":         {swap("actor_id"), 1100, "its content"},
		"row copied over other":  {[]string{copyOver(5, 6)}, 6, "its content"},
		"head moved back":        {[]string{headAt(1299, 1299)}, 1300, "beyond the head"},
		"head moved on":          {[]string{"UPDATE audit_head SET seq = 1301"}, 1301, "missing"},
		"head's hash edited":     {[]string{headAt(1300, 1)}, 1300, "the head of the chain has"},
		"head deleted":           {[]string{"DELETE FROM audit_head"}, 0, "the head of the chain is gone"},
		"an anchor made up":      {[]string{anchorOf(1000), "DELETE FROM audit_rows WHERE seq <= 1000"}, 1000, "anchor 1"},
		"an anchor beside a row": {[]string{anchorOf(1000)}, 1000, "anchor 1"},
	}
}

// insert adds a copy of row 7.
func insert(seq int) []string {
	columns := everything
	return []string{fmt.Sprintf("INSERT INTO audit_rows (seq,%s) SELECT %d,%s FROM audit_rows WHERE seq = 7", columns, seq, columns)}
}

func anchorOf(seq int) string {
	return fmt.Sprintf("INSERT INTO audit_anchors (n, seq, hash, at, link) "+
		"SELECT 1, seq, hash, at, hash FROM audit_rows WHERE seq = %d", seq)
}

func headAt(seq, hashOf int) string {
	return fmt.Sprintf("UPDATE audit_head SET seq = %d, hash = (SELECT hash FROM audit_rows WHERE seq = %d)", seq, hashOf)
}

func copyOver(from, to int) string {
	return fmt.Sprintf("UPDATE audit_rows SET via = (SELECT actor_id FROM audit_rows o WHERE o.seq = %d) WHERE seq = %d", from, to)
}

func TestTampering(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 1300)
		whole := verified(t, s)
		require.EqualValues(t, 1300, whole.Rows)
		exec(t, s.db, "CREATE TABLE kept_rows AS SELECT * FROM audit_rows", "CREATE TABLE kept_head AS SELECT * FROM audit_head")
		restore := []string{
			"DELETE FROM audit_rows", "DELETE FROM audit_head", "DELETE FROM audit_anchors",
			"INSERT INTO audit_rows SELECT * FROM kept_rows", "INSERT INTO audit_head SELECT * FROM kept_head",
		}
		for name, test := range tampering() {
			exec(t, s.db, test.change...)
			report, err := s.Verify(t.Context(), Expect{})
			require.NoError(t, err, name)
			require.False(t, report.OK, name)
			require.NotNil(t, report.Broken, name)
			require.Equal(t, test.seq, report.Broken.Seq, name)
			require.Contains(t, report.Broken.Why, test.why, name)
			exec(t, s.db, restore...)
		}
		for _, column := range strings.Split(everything, ",") {
			value := "'x'"
			switch column {
			case "at", "version":
				value = "42"
			case "prev_hash", "hash":
				value = "(SELECT hash FROM audit_rows o WHERE o.seq = 3)"
			}
			exec(t, s.db, "UPDATE audit_rows SET "+column+" = "+value+" WHERE seq = 1234")
			report, err := s.Verify(t.Context(), Expect{})
			require.NoError(t, err, column)
			require.NotNil(t, report.Broken, column)
			require.EqualValues(t, 1234, report.Broken.Seq, column)
			exec(t, s.db, "DELETE FROM audit_rows WHERE seq = 1234",
				"INSERT INTO audit_rows SELECT * FROM kept_rows WHERE seq = 1234")
		}
		require.Equal(t, whole, verified(t, s))
	})
}

func TestForgeries(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 20)
		kept := verified(t, s).Head
		forge(t, s.db, 7, false)
		report, err := s.Verify(t.Context(), Expect{})
		require.NoError(t, err)
		require.Equal(t, &Break{7, "row 8 was chained to another hash of it"}, report.Broken)

		forge(t, s.db, 7, true) // whoever can do that leaves no trace within the database
		verified(t, s)
		report, err = s.Verify(t.Context(), kept)
		require.NoError(t, err)
		require.EqualValues(t, 20, report.Broken.Seq)
		require.Contains(t, report.Broken.Why, "was made anew")
	})
}

// Who cannot write the audit log is told why: nothing is chained to what is not in the chain.
func TestWritesToABrokenChain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 10)
		exec(t, s.db, insert(11)...)
		require.ErrorContains(t, s.Write(t.Context(), entry(1)), "beyond the head of the chain (fix: see `platformd audit verify`)")
		exec(t, s.db, "DELETE FROM audit_rows WHERE seq = 11", "DELETE FROM audit_head")
		require.ErrorContains(t, s.Write(t.Context(), entry(1)), "head of the audit chain is gone")
	})
}

func TestExpect(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 30)
		kept := verified(t, s).Head
		write(t, s, 5)
		parsed, err := ParseMark(kept.String())
		require.NoError(t, err)
		require.Equal(t, kept, parsed)
		report, err := s.Verify(t.Context(), kept)
		require.NoError(t, err)
		require.True(t, report.OK)

		exec(t, s.db, "DELETE FROM audit_rows WHERE seq > 20",
			"UPDATE audit_head SET seq = 20, hash = (SELECT hash FROM audit_rows WHERE seq = 20)")
		verified(t, s)
		report, err = s.Verify(t.Context(), kept)
		require.NoError(t, err)
		require.Equal(t, &Break{30, "it is missing: the chain ends at 20"}, report.Broken)
	})
}

func TestParseMarkRefuses(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0a", 32)
	for _, text := range []string{
		"", "7", ":", "7:", "0:" + hash, "-1:" + hash, "x:" + hash, "7:" + hash[1:], "7:" + hash + "00", "7:" + hash + ":",
	} {
		_, err := ParseMark(text)
		var refusal *problem.Problem
		require.ErrorAs(t, err, &refusal, text)
		require.Contains(t, refusal.Detail, "fix: ")
	}
}

// Verify sees one moment, whatever is written and removed meanwhile.
func TestVerifyAmidChanges(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		writer, pruner, reader := p.service(t), p.service(t), p.service(t)
		write(t, writer, 3000)
		stop := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			for range 8 {
				write(t, writer, 200)
				p.move(2 * minAge)
				if _, err := pruner.Prune(t.Context(), minAge); err != nil {
					t.Error(err)
				}
			}
			close(stop)
		})
		for done := false; !done; {
			select {
			case <-stop:
				done = true
			default:
			}
			verified(t, reader)
		}
		all.Wait()
	})
}

func TestSQLiteKeepsTypes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 1)
		require.Error(t, s.db.Exec("UPDATE audit_rows SET at = 'yesterday'").Error)
		require.Error(t, s.db.Exec("UPDATE audit_rows SET details = NULL").Error)
		if s.db.Name() == backend.PostgreSQL {
			require.Error(t, s.db.Exec("INSERT INTO audit_rows SELECT * FROM audit_rows").Error)
		}
	})
}
