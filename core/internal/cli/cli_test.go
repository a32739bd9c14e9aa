package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

// cluster is a PostgreSQL server for tests that need one.
var cluster pgtest.Cluster

func TestMain(m *testing.M) {
	isolation.Main()
	testscript.Main(leakFree{m}, map[string]func(){
		"platformd": func() {
			os.Exit(Main(os.Args[1:], Deps{
				Run: fakeDaemon, Offline: fakeOffline, Lock: fakeLock, Probe: isolation.Probe,
				Version: "1.2.3-test", Commit: "0123abc",
			}))
		},
	})
}

// leakFree makes a run fail that leaves goroutines behind.
type leakFree struct{ tests testscript.TestingM }

func (l leakFree) Run() int {
	code := l.tests.Run()
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "coredata": coreData},
		Setup: func(env *testscript.Env) error {
			env.Setenv("ESC", "\x1b")
			env.Setenv("GORACE", "atexit_sleep_ms=10") // the race detector lets every process linger for a second
			return nil
		},
	})
}

// exits runs a command that must end with one certain code: `exits 3 platformd validate x`.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		ts.Fatalf("%q ended with %v, not with exit code %d", args[1:], err, want)
	}
	if exit.ExitCode() != want {
		ts.Fatalf("%q ended with exit code %d, not %d", args[1:], exit.ExitCode(), want)
	}
}

// coreData makes a data folder with the core's data.
func coreData(ts *testscript.TestScript, _ bool, args []string) {
	store, err := storage.Open(context.Background(), storage.Options{DataDir: ts.MkAbs(args[0])})
	ts.Check(err)
	ts.Check(store.Close())
}

// fakeLock finds a daemon on every data directory of one name.
func fakeLock(dataDir string) (io.Closer, error) {
	if filepath.Base(dataDir) == "busy" {
		return nil, WithExit(ExitAlreadyRunning, errors.New("somebody runs (fix: stop it)"))
	}
	return io.NopCloser(nil), nil
}
