package e2e

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSupervisionG1NoOrphans kills the core at random instants, also in the middle of launches; a grandchild that left its
// session is among what must be gone a second later.
func TestSupervisionG1NoOrphans(t *testing.T) {
	t.Parallel()
	kills := count(25, 500)
	var gone figures
	report(t, proof{"G1", "SIGKILL of the core at a random instant", kills}, gone.stringer())
	dir := newDir(t, "hello", "evil")
	binary := ownBinary(t, dir)
	for n := range kills {
		p := launchBinary(t, dir, binary, options{})
		if n%3 == 0 {
			p.awaitReady()
			require.Equal(t, http.StatusOK, p.do(http.MethodPost, "/api/v1/evil/grandchild", "", "").status)
			require.GreaterOrEqual(t, len(below(t, dir)), 4, "core, two modules, a grandchild")
		} else {
			pause(time.Duration(rand.Int64N(int64(400 * time.Millisecond))))
		}
		killed := time.Now()
		require.NoError(t, p.cmd.Process.Kill())
		<-p.exited
		require.Eventually(t, func() bool { return len(below(t, dir)) == 0 }, bound(time.Second), 5*time.Millisecond)
		gone = append(gone, time.Since(killed))
	}
	last := launchBinary(t, dir, binary, options{})
	last.awaitReady()
	last.pid("evil")
	instances, err := filepath.Glob(filepath.Join(dir, "data/run/*/plugin-dir*"))
	require.NoError(t, err)
	require.Len(t, instances, 2, "what earlier runs left is gone")
	last.stop()
	require.NoDirExists(t, filepath.Join(dir, "data/run"))
	require.Empty(t, below(t, dir))
}

// stringer defers the printing to when the figures are known.
func (f *figures) stringer() func() string { return func() string { return f.String() } }

// pause passes time at a random instant's sake; nothing is waited for.
func pause(d time.Duration) { <-time.After(d) }

// TestSupervisionG1Leftovers: what a killed core could not remove, the next one does.
func TestSupervisionG1Leftovers(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello")
	p := launch(t, dir, options{})
	p.awaitReady()
	require.NoError(t, p.cmd.Process.Kill())
	<-p.exited
	stale, err := filepath.Glob(filepath.Join(dir, "data/run/*"))
	require.NoError(t, err)
	require.NotEmpty(t, stale, "a killed core leaves its runtime folder")
	before, err := os.Stat(stale[0])
	require.NoError(t, err)
	again := launch(t, dir, options{})
	again.awaitReady()
	again.pid("hello")
	for _, path := range stale {
		now, err := os.Stat(path)
		require.True(t, err != nil || now.ModTime().After(before.ModTime()), "%s is of the earlier run", path)
	}
	again.stop()
}
