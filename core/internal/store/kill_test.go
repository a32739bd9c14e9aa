package store

import (
	"bufio"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// full tells that the guarantee is to be proved at its full count, as `make soak` does.
func full() bool { return os.Getenv("PLATFORMD_SOAK") == "full" }

// copied is another data directory with the same in it.
func copied(t *testing.T, from string) string {
	t.Helper()
	dir := dataDir(t)
	if _, err := os.Lstat(from); err == nil {
		require.NoError(t, exec.CommandContext(t.Context(), "cp", "-Rp", from, dir).Run())
	}
	return dir
}

// TestInstallG10AtEveryFailpoint kills a process at each failpoint of each change, and others that recover from that, too.
func TestInstallG10AtEveryFailpoint(t *testing.T) {
	t.Parallel()
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template := dataDir(t)
			sc.before(t, opened(t, template))
			want := outcomes(t, template, sc)
			points, killed := spawn(t, name, copied(t, template), -1)
			require.False(t, killed)
			require.NotEmpty(t, points)
			count := map[bool]int{}
			for kill, point := range points {
				dir := copied(t, template)
				_, killed := spawn(t, name, dir, kill)
				require.True(t, killed, point)
				for again := 0; full() || kill%3 == 0 && again <= kill/3%3; again++ {
					if _, killed := spawn(t, "recover", dir, again); !killed {
						break
					}
				}
				isNew := settled(t, point, dir, want)
				require.Equal(t, mustBeNew(points[:kill+1]), isNew, "killed at %s", point)
				count[isNew]++
			}
			t.Logf("%d failpoints: old after %d, new after %d", len(points), count[false], count[true])
		})
	}
}

// mustBeNew tells by the failpoints that a process has come to which state is to be found: what cannot be undone may have been
// done once the journal says so.
func mustBeNew(passed []string) bool {
	if slices.Contains(passed, "abort.ended") {
		return false
	}
	for _, decisive := range []string{"point.renamed", "commit.lock.renamed", "grants.renamed"} {
		if slices.Contains(passed, decisive) {
			return true
		}
	}
	return false
}

// states are what may be found after a kill: how everything was, and how it was to be.
type states struct{ old, new, halfOld map[string]string }

func outcomes(t *testing.T, template string, sc scenario) states {
	t.Helper()
	old, done := opened(t, copied(t, template)), opened(t, copied(t, template))
	_, err := old.Recover()
	require.NoError(t, err)
	finish := sc.finished
	if finish == nil {
		finish = sc.act
	}
	finish(t, done)
	_, err = opened(t, done.data).Recover()
	require.NoError(t, err)
	want := states{old: tree(t, old.data), new: tree(t, done.data)}
	require.NotEqual(t, want.old, want.new)
	sound(t, done)
	if e, installed := old.Entries()["blog"]; installed && old.Verify(t.Context(), "blog", e) != nil {
		want.halfOld = maps.Clone(want.new) // the version that was spoilt is what platformd.lock says, again
		want.halfOld[lockName] = want.old[lockName]
	}
	return want
}

// settled opens and recovers what a killed process has left, and reports whether it is the new state. Otherwise it must be the
// old.
func settled(t *testing.T, point, dir string, want states) bool {
	t.Helper()
	s := opened(t, dir)
	r, err := s.Recover()
	require.NoError(t, err, point)
	purge(t, s, r)
	is := tree(t, dir)
	isNew := maps.Equal(is, want.new)
	if !isNew && (want.halfOld == nil || !maps.Equal(is, want.halfOld)) {
		require.Equal(t, want.old, is, "neither the old state nor the new one after a kill at %s", point)
	}
	if r != nil {
		require.Equal(t, r.Finished, isNew, "killed at %s", point)
	}
	again, err := opened(t, dir).Recover()
	require.NoError(t, err)
	require.Nil(t, again)
	require.Equal(t, is, tree(t, dir))
	return isNew
}

func purge(t *testing.T, s *Store, r *Recovered) {
	t.Helper()
	if r == nil || !r.Purge {
		return
	}
	again, err := s.Recover()
	require.NoError(t, err)
	require.Equal(t, r, again, "until its data is gone")
	_, err = s.Begin(t.Context(), Change{Module: "billing"})
	require.Equal(t, "change_under_way", code(t, err))
	require.NoError(t, s.Purged())
}

// TestInstallG10AtRandom kills a process that makes one change after the other, at any moment.
func TestInstallG10AtRandom(t *testing.T) {
	t.Parallel()
	kills := 25
	if full() {
		kills = 300
	}
	dir := dataDir(t)
	install(t, opened(t, dir), "billing", "1.0.0")
	count := map[string]int{}
	for range kills {
		last := killed(t, dir)
		s := opened(t, dir)
		r, err := s.Recover()
		require.NoError(t, err)
		purge(t, s, r)
		count[judged(t, s, last)]++
	}
	t.Logf("%d kills: %v", kills, count)
}

// killed has a child run for a random time, and returns the last change that it began.
func killed(t *testing.T, dir string) step {
	t.Helper()
	cmd := command(t, "loop", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "the child does something")
	line := append([]byte{}, lines.Bytes()...)
	timer := time.AfterFunc(time.Duration(rand.Int64N(int64(100*time.Millisecond))), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		line = append(line[:0], lines.Bytes()...)
	}
	require.Error(t, cmd.Wait(), "it is killed")
	require.Equal(t, -1, cmd.ProcessState.ExitCode(), "it is killed")
	var last step
	require.NoError(t, json.Unmarshal(line, &last))
	return last
}

func judged(t *testing.T, s *Store, last step) string {
	t.Helper()
	var is *Entry
	if e, installed := s.Entries()["blog"]; installed {
		is = &e
	}
	state := "old"
	if same(is, last.New) {
		state = "new"
	} else if !same(is, last.Old) {
		require.Equal(t, last.Old, is)
	}
	sound(t, s)
	require.NoFileExists(t, s.journalFile())
	staged, err := s.list(s.staging())
	require.NoError(t, err)
	require.Empty(t, staged)
	versions, err := s.versions("blog")
	require.NoError(t, err)
	for _, version := range versions {
		require.NotNil(t, s.kept("blog", version), version)
	}
	again, err := s.Recover()
	require.NoError(t, err)
	require.Nil(t, again)
	return state
}
