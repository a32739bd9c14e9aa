package audit

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/problem"
)

const year = 365 * 24 * time.Hour

func TestPrune(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 2*pruneBatch+500)
		old := verified(t, s).Head
		p.move(year)
		write(t, s, 10)
		kept := verified(t, s).Head

		removed, err := s.Prune(t.Context(), year+time.Hour)
		require.NoError(t, err)
		require.Zero(t, removed, "nothing is so old")
		require.Equal(t, kept, verified(t, s).Head, "and no row tells of nothing")

		removed, err = s.Prune(t.Context(), year)
		require.NoError(t, err)
		require.Zero(t, removed, "the very age is not older")
		removed, err = s.Prune(t.Context(), year-time.Hour)
		require.NoError(t, err)
		require.Equal(t, old.Seq, removed)
		report := verified(t, s)
		require.Equal(t, old.Seq+1, report.FirstSeq)
		require.EqualValues(t, 10+3, report.Rows)
		rows := find(t, s, Filter{Action: ActionPruned, OldestFirst: true})
		require.Len(t, rows, 3)
		var told struct {
			Anchor, From int64
			UpTo         int64 `json:"up_to"`
			Hash         Hash
		}
		require.NoError(t, json.Unmarshal(rows[2].Details, &told))
		require.Equal(t, []int64{3, 2*pruneBatch + 1, old.Seq}, []int64{told.Anchor, told.From, told.UpTo})
		require.Equal(t, old.Hash, told.Hash)

		for _, want := range []Expect{kept, old} { // an anchor says what the hash was
			report, err = s.Verify(t.Context(), want)
			require.NoError(t, err)
			require.True(t, report.OK)
		}
		report, err = s.Verify(t.Context(), Expect{Seq: old.Seq, Hash: kept.Hash})
		require.NoError(t, err)
		require.Equal(t, old.Seq, report.Broken.Seq)
		_, err = s.Verify(t.Context(), Expect{Seq: 5})
		var refusal *problem.Problem
		require.ErrorAs(t, err, &refusal)
		require.Contains(t, refusal.Detail, "(fix: expect a later row)")

		p.move(year)
		_, err = s.Prune(t.Context(), minAge) // all of it
		require.NoError(t, err)
		require.EqualValues(t, 1, verified(t, s).Rows)
		write(t, s, 5)
		require.EqualValues(t, 6, verified(t, s).Rows)
	})
}

func TestPruneRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 10)
		for _, age := range []time.Duration{-1, 0, time.Second, minAge - 1} {
			_, err := s.Prune(t.Context(), age)
			var refusal *problem.Problem
			require.ErrorAs(t, err, &refusal)
		}
		p.move(2 * minAge)
		for name, test := range map[string]struct {
			seq    int64
			change []string
			undo   []string
		}{
			"edited": {3, []string{"UPDATE audit_rows SET trace_id = 'x' WHERE seq = 3"},
				[]string{"UPDATE audit_rows SET trace_id = 't' WHERE seq = 3"}},
			"the last moved": {10, []string{"UPDATE audit_head SET seq = 11"}, []string{"UPDATE audit_head SET seq = 10"}},
			"missing": {5, []string{"CREATE TABLE away AS SELECT * FROM audit_rows WHERE seq = 5", "DELETE FROM audit_rows WHERE seq = 5"},
				[]string{"INSERT INTO audit_rows SELECT * FROM away"}},
		} {
			exec(t, s.db, test.change...)
			removed, err := s.Prune(t.Context(), minAge)
			require.Zero(t, removed, name)
			var broken *BrokenError
			require.ErrorAs(t, err, &broken, name)
			require.Equal(t, test.seq, broken.Seq, name)
			require.ErrorContains(t, err, "(fix: ")
			exec(t, s.db, test.undo...)
			require.EqualValues(t, 10, verified(t, s).Rows, name)
		}
	})
}

// The last row that goes was rewritten, and only the row after it, which stays, can tell.
func TestPruneLooksAtTheFirstThatStays(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := p.service(t)
		write(t, s, 10)
		p.move(2 * minAge)
		write(t, s, 5)
		forge(t, s.db, 10, false)
		_, err := s.Prune(t.Context(), minAge)
		var broken *BrokenError
		require.ErrorAs(t, err, &broken)
		require.EqualValues(t, 10, broken.Seq)
	})
}

func TestRunPrunes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		first := p.service(t)
		write(t, first, 10)
		p.move(2 * minAge)
		for range 3 { // as many daemons at once
			s, _ := p.idle(t, Options{Retention: minAge})
			run(t, s)
		}
		require.Eventually(t, func() bool { return verified(t, first).FirstSeq == 11 }, 20*time.Second, 10*time.Millisecond)
		require.Len(t, find(t, first, Filter{Action: ActionPruned}), 1)
	})
}
