//go:build linux

package proc

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 20 * time.Second

func TestParse(t *testing.T) {
	t.Parallel()
	const line = "42 (a b) c) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 1 1 20 0 4 0 987654 1000 200 18446744073709551615 1\n"
	got, err := parse(42, line)
	require.NoError(t, err)
	require.Equal(t, entry{pid: 42, parent: 7, state: 'S', cpu: 3 * time.Second, started: "987654"}, got)
	for _, bad := range []string{"", "42 (sh", "42 (sh) S 1 2", "42 (sh) S x 42 42 0 -1 4194560 1 0 0 0 250 50 1 1 20 0 4 0 9 1"} {
		_, err := parse(42, bad)
		require.Error(t, err, "%q", bad)
	}
}

// start runs a shell that has a busy child and a stubborn one, and waits until both are there.
func start(t *testing.T) *Process {
	t.Helper()
	shell, err := exec.LookPath("sh")
	require.NoError(t, err)
	runtime.LockOSThread() // for as long as the test's goroutine lasts; see Start
	const script = `(while :; do :; done) & (trap "" TERM; while :; do sleep 1000; done) & wait`
	p, err := Start(t.Context(), Spec{Name: "tree", Path: shell, Args: []string{"-c", script}, Logs: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(p.Stop)
	require.Eventually(t, func() bool { return len(descendants(p.PID())) >= 3 }, patience, time.Millisecond)
	return p
}

func TestCPUCountsDescendants(t *testing.T) {
	p := start(t)
	before, err := Read(p)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		after, err := Read(p)
		require.NoError(t, err)
		used, err := after.Since(before)
		require.NoError(t, err)
		return used >= 100*time.Millisecond
	}, patience, 10*time.Millisecond, "the shell itself only waits: the time is its child's")
}

func TestStopEndsDescendants(t *testing.T) {
	p := start(t)
	family := descendants(p.PID())
	p.Stop()
	for _, member := range family {
		require.Eventually(t, func() bool { return !lives(member) }, patience, time.Millisecond)
	}
	_, err := Read(p)
	require.ErrorContains(t, err, "tree is gone")
}

func TestSinceMissesWhoEnded(t *testing.T) {
	p := start(t)
	before, err := Read(p)
	require.NoError(t, err)
	busy := before[1]
	busy.kill()
	require.Eventually(t, func() bool { return !lives(busy) }, patience, time.Millisecond)
	require.Eventually(t, func() bool {
		after, err := Read(p)
		require.NoError(t, err)
		_, err = after.Since(before)
		return err != nil
	}, patience, time.Millisecond, "the shell reaps its child")
}

func lives(e entry) bool {
	now, err := read(e.pid)
	return err == nil && now.started == e.started && now.state != 'Z'
}

func TestRSS(t *testing.T) {
	t.Parallel()
	bytes, err := RSS(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, bytes, int64(1<<20))
	_, err = RSS(-1)
	require.Error(t, err)
}
