package migrate_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

// holding begins a migration that lasts until release, or until its context ends; ended says how.
func holding(t *testing.T, p *platform) (release func(), ended chan error) {
	t.Helper()
	entered, leave, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	m := p.module("blog", table("a"))
	run := m.Run
	m.Run = func(ctx context.Context, d storage.Database, step migrate.Step) ([]string, error) {
		close(entered)
		select {
		case <-leave:
			return run(ctx, d, step)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	go func() { ended <- p.up(t, m) }()
	<-entered
	return func() { close(leave) }, ended
}

func TestALockNamesItsHolder(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		first := newPlatform(t, dir, url)
		first.migrator.Hurry(300*time.Millisecond, time.Minute, time.Minute)
		release, ended := holding(t, first)
		second := first
		if url != "" { // another daemon; on SQLite there is one
			second = newPlatform(t, t.TempDir(), url)
			second.migrator.Hurry(300*time.Millisecond, time.Minute, time.Minute)
		}
		err := second.up(t, second.module("blog", table("a")))
		var locked *migrate.LockedError
		require.ErrorAs(t, err, &locked)
		require.Contains(t, locked.Holder, dir)
		require.ErrorContains(t, err, "module blog is being migrated by ")
		require.ErrorContains(t, err, "fix: ")
		require.Empty(t, second.applied(t, "blog"))
		release()
		require.NoError(t, <-ended)
		require.NoError(t, second.up(t, second.module("blog", table("a"))))
	})
}

// A holder that was killed gives no sign of life any more.
func TestALockRunsOut(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		now := "CURRENT_TIMESTAMP"
		if url == "" {
			now = "'" + time.Now().UTC().Format("2006-01-02 15:04:05.999999-07:00") + "'"
		}
		insert := "INSERT INTO migration_locks (module, token, daemon, holder, since, expires_at) " +
			"VALUES ('blog', 'x', 'other', 'a dead one', " + now + ", " + now + ")"
		require.NoError(t, p.storage.Core().Exec(insert).Error)
		require.NoError(t, p.up(t, p.module("blog", table("a"))))
		require.Equal(t, "a", p.applied(t, "blog"))
	})
}

// What the daemon's own last process left holds up nothing: no two run on one data directory.
func TestOwnLocksAreGivenUp(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		first := newPlatform(t, dir, url)
		require.NoError(t, first.storage.Core().Exec("INSERT INTO migration_locks (module, token, daemon, holder, since, expires_at) "+
			"VALUES ('blog', 'x', ?, 'our last process', ?, ?)", first.storage.DaemonID(), time.Now(), time.Now().Add(time.Hour)).Error)
		again := newPlatform(t, dir, url)
		again.migrator.Hurry(time.Millisecond, time.Minute, time.Minute)
		require.NoError(t, again.up(t, again.module("blog", table("a"))))
	})
}

func TestALockIsKeptForAsLongAsItTakes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		p.migrator.Hurry(time.Second, 400*time.Millisecond, 50*time.Millisecond)
		release, ended := holding(t, p)
		err := p.up(t, p.module("blog", table("a"))) // waits for more than twice the lease
		var locked *migrate.LockedError
		require.ErrorAs(t, err, &locked)
		release()
		require.NoError(t, <-ended)
	})
}

func TestALostLockEndsTheMigration(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.SuperuserRights)
	p := newPlatform(t, t.TempDir(), url)
	p.migrator.Hurry(time.Second, time.Second, 20*time.Millisecond)
	_, ended := holding(t, p)
	require.NoError(t, p.storage.Core().Exec("UPDATE migration_locks SET token = 'somebody else'").Error)
	err := <-ended
	require.ErrorContains(t, err, "the migration's lock could not be kept")
	require.Empty(t, p.applied(t, "blog"))
}
