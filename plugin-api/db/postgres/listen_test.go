package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

func TestWhatIsSaidIsHeard(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{}) // whose only connection stays free
	heard, ended := make(chan string, 4), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- postgres.Listen(ctx, db, `a "channel"`, func(message string) { heard <- message }) }()
	next := func() string {
		select {
		case message := <-heard:
			return message
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(30 * time.Second):
			require.Fail(t, "nothing was heard")
		}
		return ""
	}
	require.Empty(t, next(), "it listens")
	for _, message := range []string{"one", "two ü"} {
		require.NoError(t, db.Exec("SELECT pg_notify(?, ?)", `a "channel"`, message).Error)
		require.Equal(t, message, next())
	}
	require.NoError(t, db.Exec("SELECT pg_notify('another', 'three')").Error)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Empty(t, heard)
}

func TestAListenerIsCutOff(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{MaxConns: 2})
	heard, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- postgres.Listen(t.Context(), db, "channel", func(message string) { heard <- message })
	}()
	require.Empty(t, <-heard)
	require.NoError(t, db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "+
		"WHERE datname = current_database() AND query LIKE 'LISTEN%'").Error)
	require.ErrorIs(t, <-ended, postgres.ErrUnavailable)
}
