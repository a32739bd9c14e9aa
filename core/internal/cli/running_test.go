package cli

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/logs"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	blog := d.log.Logger.Named("module.blog")
	blog.Info("first", "id", 1)
	blog.Warn("second\x1b[2J")
	d.log.Logger.Error("third")
	r := d.run(t, "logs")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `^\S+ \[INFO\] +blog: first id=1\n`+
		`\S+ \[WARN\] +blog: second\\x1b\[2J\n`+
		`\S+ \[ERROR\] +core: third\n$`, r.out)
	require.Equal(t, 2, strings.Count(d.run(t, "logs", "blog").out, "\n"))
	require.Equal(t, 1, strings.Count(d.run(t, "logs", "blog", "--level", "warn").out, "\n"))
	require.Equal(t, 1, strings.Count(d.run(t, "logs", "--lines", "1").out, "\n"))
	require.Empty(t, d.run(t, "logs", "--since", "2999-01-01T00:00:00Z").out)
	require.Equal(t, 3, strings.Count(d.run(t, "logs", "--since", "1h").out, "\n"))
	lines := strings.Split(d.run(t, "logs", "-o", "json").out, "\n")
	require.Equal(t, "second\x1b[2J", decode[logs.Entry](t, lines[1]).Message)
	require.Equal(t, ExitNotFound, d.run(t, "logs", "blgo").code)
}

// Following ends well, be it that the person has seen enough or that the daemon stops.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(d *daemon, interrupt func()){
		"interrupted": func(_ *daemon, interrupt func()) { interrupt() },
		"stopped":     func(d *daemon, _ func()) { d.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			seen := &watched{want: "hello there", found: make(chan struct{})}
			ended := make(chan int)
			go func() {
				ended <- run(ctx, []string{"logs", "-f", "--data-dir", d.dir}, Deps{Out: seen, Err: os.Stderr, Env: []string{}})
			}()
			d.log.Logger.Info("hello there")
			requireSoon(t, seen.found)
			end(d, interrupt)
			require.Equal(t, ExitOK, requireSoon(t, ended))
		})
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "stop")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Empty(t, r.out)
	held, err := isHeld(admin.LockPath(d.dir))
	require.NoError(t, err)
	require.False(t, held, "stop returned before the daemon was gone")
	r = d.run(t, "stop")
	require.Equal(t, ExitError, r.code)
	require.Contains(t, r.err, "no platformd runs on data dir "+d.dir)
}

// A daemon whose socket is not there yet, or no longer, is not taken for none.
func TestDaemonWithoutSocket(t *testing.T) {
	t.Parallel()
	d := &daemon{dir: t.TempDir()}
	d.takeLock(t)
	defer d.lock.Close()
	for _, command := range []string{"stop", "status"} {
		r := d.run(t, command)
		require.Equal(t, ExitError, r.code)
		require.Contains(t, r.err, "does not answer on its control socket")
		requireFix(t, r, "run the command again in a moment")
	}
}

// A daemon that does not end is not waited for forever.
func TestStopGivesUp(t *testing.T) {
	t.Parallel()
	d := &daemon{dir: t.TempDir()}
	d.takeLock(t)
	defer d.lock.Close()
	err := awaitStop(t.Context(), admin.LockPath(d.dir), admin.Stopping{PID: 7, WithinMillis: 100 - stopSlack.Milliseconds()})
	require.ErrorContains(t, err, "platformd (pid 7) was told to stop, but still runs after 100ms")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = awaitStop(ctx, admin.LockPath(d.dir), admin.Stopping{PID: 7, WithinMillis: 60000})
	require.ErrorContains(t, err, "goes on stopping")
}

// A killed daemon leaves its pid in the file, which the kernel has unlocked.
func TestPidOfAKilledDaemon(t *testing.T) {
	t.Parallel()
	d := &daemon{dir: t.TempDir()}
	d.takeLock(t)
	require.Equal(t, os.Getpid(), holder(admin.LockPath(d.dir)))
	require.NoError(t, d.lock.Close())
	require.Zero(t, holder(admin.LockPath(d.dir)))
	require.Contains(t, d.run(t, "status").err, "no platformd runs on data dir")
}
