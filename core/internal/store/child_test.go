package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The variables that make a process of this test's binary a child, which does something to a store and dies.
const (
	envAct  = "STORE_TEST_ACT"  // a scenario, "recover" or "loop"
	envDir  = "STORE_TEST_DIR"  // the data directory
	envKill = "STORE_TEST_KILL" // the number of the failpoint at which it dies; without it, all of them are printed
)

// noDeadline is for what the child does too, which has no test.
func noDeadline() context.Context { return context.Background() }

// scenario is a change, and the state before it.
type scenario struct {
	before, act func(t require.TestingT, s *Store)
	// finished makes what is to be if the change is finished; nil: act does.
	finished func(t require.TestingT, s *Store)
}

// put stages, begins and commits a version of blog, by way of Point or not.
func put(version string, point bool) func(t require.TestingT, s *Store) {
	return func(t require.TestingT, s *Store) {
		g := staged(t, s, "blog", version)
		tx := begun(t, s, Change{To: entry(version), Staged: g})
		if point {
			require.NoError(t, tx.Point())
		}
		require.NoError(t, tx.Commit())
		require.NoError(t, g.Discard())
	}
}

func twoVersions(t require.TestingT, s *Store) {
	install(t, s, "billing", "1.0.0")
	install(t, s, "blog", "0.9.0")
	install(t, s, "blog", "1.0.0-rc.1")
}

func scenarios() map[string]scenario {
	nothing := func(require.TestingT, *Store) {}
	return map[string]scenario{
		"install":              {before: nothing, act: put("1.0.0", true)},
		"upgrade":              {before: twoVersions, act: put("1.0.0", false)},
		"upgrade with a point": {before: twoVersions, act: put("1.0.0", true)},
		"repair": {before: func(t require.TestingT, s *Store) {
			twoVersions(t, s)
			path := filepath.Join(s.Dir("blog", "1.0.0-rc.1"), "LICENSE")
			require.NoError(t, errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, []byte("Pay.\n"), 0o600), os.Chmod(path, 0o444)))
			require.NoError(t, s.SetGrants("blog", nil, nil))
		}, act: put("1.0.0-rc.1", true)},
		"over an orphan": {before: func(t require.TestingT, s *Store) {
			twoVersions(t, s)
			require.NoError(t, os.MkdirAll(filepath.Join(s.Dir("blog", "1.0.0"), "half"), 0o755))
		}, act: put("1.0.0", true)},
		"rollback": {before: twoVersions, act: func(t require.TestingT, s *Store) {
			tx := begun(t, s, Change{Module: "blog", To: s.Entries()["blog"].Previous})
			require.NoError(t, errors.Join(tx.Point(), tx.Commit()))
		}},
		"uninstall": {before: twoVersions, act: func(t require.TestingT, s *Store) {
			require.NoError(t, begun(t, s, Change{Module: "blog"}).Commit())
		}},
		"purge": {before: twoVersions, act: func(t require.TestingT, s *Store) {
			tx := begun(t, s, Change{Module: "blog", Purge: true})
			require.NoError(t, errors.Join(tx.Commit(), tx.Purged()))
		}},
		"abort": {before: twoVersions, finished: put("1.0.0", true), act: func(t require.TestingT, s *Store) {
			tx := begun(t, s, Change{To: entry("1.0.0"), Staged: staged(t, s, "blog", "1.0.0")})
			require.NoError(t, errors.Join(tx.Point(), tx.Abort()))
		}},
		"grants": {before: twoVersions, act: func(t require.TestingT, s *Store) {
			require.NoError(t, s.SetGrants("blog", []string{"a.b.c"}, []string{"d.e.f"}))
		}},
	}
}

// plain is a require.TestingT of a process that has no test.
type plain struct{}

func (plain) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) }
func (plain) FailNow()                          { os.Exit(1) }

func child(act string) int {
	s := opened(plain{}, os.Getenv(envDir))
	if act == "loop" {
		loop(s)
	}
	kill, err := strconv.Atoi(os.Getenv(envKill))
	if err != nil {
		kill = -1
	}
	passed := 0
	failpoint = func(name string) {
		if passed == kill {
			die()
		}
		if passed++; kill < 0 {
			fmt.Println(name)
		}
	}
	if act == "recover" {
		_, err := s.Recover()
		require.NoError(plain{}, err)
		return 0
	}
	scenarios()[act].act(plain{}, s)
	return 0
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// spawn runs a child and returns what it printed, and whether it was killed. If it ended otherwise than well, the test fails.
func spawn(t *testing.T, act, dir string, kill int) (points []string, killed bool) {
	t.Helper()
	cmd := command(t, act, dir)
	if kill >= 0 {
		cmd.Env = append(cmd.Env, envKill+"="+strconv.Itoa(kill))
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status, ok := exit.Sys().(syscall.WaitStatus)
		if ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return nil, true
		}
		require.NoError(t, err, string(exit.Stderr))
	}
	require.NoError(t, err)
	return strings.Fields(string(out)), false
}

func command(t *testing.T, act, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), envAct+"="+act, envDir+"="+dir)
	return cmd
}

// step is a line of what loop is about to do: what platformd.lock says of blog before, and after.
type step struct{ Old, New *Entry }

// loop changes what is installed until it is killed.
func loop(s *Store) {
	out := json.NewEncoder(os.Stdout)
	for {
		version := fmt.Sprintf("%d.0.0", 1+rand.IntN(4))
		var now *Entry
		if e, installed := s.Entries()["blog"]; installed {
			now = &e
		}
		c := Change{To: entry(version), AllowOlder: true}
		switch roll := rand.IntN(10); {
		case now != nil && roll == 0:
			c = Change{Module: "blog", Purge: rand.IntN(2) == 0}
		case now != nil && now.Previous != nil && roll < 4:
			c = Change{Module: "blog", To: now.Previous}
		case now != nil && now.Version == version:
			continue
		default:
			c.Staged = staged(plain{}, s, "blog", version)
		}
		t, err := s.draft(c, false)
		require.NoError(plain{}, err)
		require.NoError(plain{}, out.Encode(step{now, t.To}))
		change(s, c)
	}
}

func change(s *Store, c Change) {
	tx := begun(plain{}, s, c)
	if rand.IntN(2) == 0 {
		require.NoError(plain{}, tx.Point())
	}
	if rand.IntN(4) == 0 {
		require.NoError(plain{}, tx.Abort())
		return
	}
	require.NoError(plain{}, tx.Commit())
	if c.Purge {
		require.NoError(plain{}, tx.Purged())
	}
}
