package bridge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Of several daemons one empties an outbox, and another goes on when it no longer does. The core's pool of connections lives on
// after its outbox is closed: the lock must not stay in it.
func TestOneDaemonHasAnOutbox(t *testing.T) {
	t.Parallel()
	p := server(t)
	one, two := p.open(), p.open()
	put(t, one, event("1", ""))
	var schema string
	require.NoError(t, one.Raw("SELECT current_schema()").Scan(&schema).Error)
	requireTaken := func(want bool) {
		t.Helper()
		require.Eventually(t, func() bool {
			taken, err := Taken(t.Context(), two, schema)
			return err == nil && taken == want
		}, patience, 10*time.Millisecond)
		other, err := Taken(t.Context(), two, schema+"2")
		require.NoError(t, err)
		require.False(t, other)
	}
	for range 3 {
		requireTaken(false)
		first, err := CoreOutbox(t.Context(), one)
		require.NoError(t, err)
		_, waiting, err := first.Next(t.Context(), 10)
		require.NoError(t, err)
		require.EqualValues(t, 1, waiting)
		requireTaken(true)
		second, err := CoreOutbox(t.Context(), two)
		require.NoError(t, err)
		rows, waiting, err := second.Next(t.Context(), 10)
		require.ErrorIs(t, err, ErrElsewhere)
		require.Empty(t, rows)
		require.EqualValues(t, 1, waiting, "it tells nevertheless")
		again, err := CoreOutbox(t.Context(), one)
		require.NoError(t, err)
		_, _, err = again.Next(t.Context(), 10)
		require.ErrorIs(t, err, ErrElsewhere, "nor twice in one daemon")
		require.NoError(t, again.Close(t.Context()))

		require.NoError(t, first.Close(t.Context()))
		require.Eventually(t, func() bool { // as soon as the server has noticed
			_, _, err = second.Next(t.Context(), 10)
			return err == nil
		}, patience, 10*time.Millisecond)
		_, _, err = second.Next(t.Context(), 10)
		require.NoError(t, err)
		require.NoError(t, second.Close(t.Context()))
	}
	first, err := CoreOutbox(t.Context(), one)
	require.NoError(t, err)
	_, _, err = first.Next(t.Context(), 10)
	require.NoError(t, err)
	require.NoError(t, two.Exec("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "+
		"AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Error) // others are other tests'
	_, _, err = first.Next(t.Context(), 10)
	require.Error(t, err, "it does not go on without the lock")
	require.NoError(t, first.Close(t.Context()))
	require.NoError(t, first.Close(t.Context()))
}

func TestAnOutboxTellsHowMuchWaits(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		db := p.open()
		all, _ := events(7, "")
		put(p.t, db, all...)
		box, err := CoreOutbox(p.t.Context(), db)
		require.NoError(p.t, err)
		rows, waiting, err := box.Next(p.t.Context(), 3)
		require.NoError(p.t, err)
		require.Len(p.t, rows, 3)
		require.EqualValues(p.t, 7, waiting)
		require.NoError(p.t, box.Remove(p.t.Context(), []int64{rows[0].Seq, rows[1].Seq}))
		more, _ := events(3, "more")
		put(p.t, db, more...)
		_, waiting, err = box.Next(p.t.Context(), 3)
		require.NoError(p.t, err)
		require.EqualValues(p.t, 5, waiting, "it is not counted with every batch")
		counting, ok := box.(*databaseOutbox)
		require.True(p.t, ok)
		counting.counted = time.Now().Add(-countEvery)
		_, waiting, err = box.Next(p.t.Context(), 3)
		require.NoError(p.t, err)
		require.EqualValues(p.t, 8, waiting)
		rows, waiting, err = box.Next(p.t.Context(), 10)
		require.NoError(p.t, err)
		require.Len(p.t, rows, 8)
		require.EqualValues(p.t, 8, waiting)
		require.NoError(p.t, box.Close(p.t.Context()))
	})
}
