package e2e

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for a state. It is generous: the machine may be busy with other packages' tests.
const patience = 60 * time.Second

// built is where TestMain left the binaries: platformd, and a folder modules/ ready to be copied.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pde2e")
	if err == nil {
		built = dir
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the binaries under test:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// build compiles the daemon and every module the suites use, as `make build` does: without cgo, and all at once. Without symbols
// they are a third smaller, which counts: each test copies them, and each start of a module hashes what it executes.
func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	sources := []string{"core/e2e/evil", "core/e2e/clerk", "core/e2e/courier", "core/e2e/parrot", "core/e2e/crier"}
	sources = append(sources, "plugins/hello", "plugins/billing", "plugins/blog", "plugins/notify")
	args := []string{"build", "-ldflags=-s -w", "-o", dir + "/", "./core/cmd/platformd"}
	for _, source := range sources {
		args = append(args, "./"+source)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	for _, source := range sources {
		name := filepath.Base(source)
		module := filepath.Join(dir, "modules", name)
		if err := copyModule(filepath.Join(root, source), module); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(module, "bin", name)); err != nil {
			return err
		}
	}
	scribe := filepath.Join(dir, "modules/scribe") // clerk's binary, with other files
	if err := copyModule(filepath.Join(root, "core/e2e/scribe"), scribe); err != nil {
		return err
	}
	return os.Link(filepath.Join(dir, "modules/clerk/bin/clerk"), filepath.Join(scribe, "bin/scribe"))
}

// copyModule copies what of a module is not code.
func copyModule(source, target string) error {
	if err := os.MkdirAll(filepath.Join(target, "bin"), 0o755); err != nil {
		return err
	}
	for _, pattern := range []string{"module.yaml", "*.schema.json", "events/*.json", "migrations/*.sql"} {
		names, err := filepath.Glob(filepath.Join(source, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			out := filepath.Join(target, strings.TrimPrefix(name, source))
			if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(out, content, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// platform is one running daemon.
type platform struct {
	t       *testing.T
	dir     string // holds modules/ and data/
	env     []string
	url     string
	cmd     *exec.Cmd
	log     *logBuffer
	exited  chan struct{}
	exitErr error
}

// options choose what a platform runs.
type options struct {
	modules []string // copied from built
	env     []string
	config  string // config.yaml; empty: none
}

// newDir lays out a platform's folder. Its path is short: sockets live below it.
func newDir(t *testing.T, modules ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pd")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	useDatabase(t, dir, os.Getenv("PLATFORMD_TEST_E2E_BACKEND"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "modules"), 0o755))
	for _, name := range modules {
		require.NoError(t, os.CopyFS(filepath.Join(dir, "modules", name), os.DirFS(filepath.Join(built, "modules", name))))
	}
	return dir
}

// start runs a platform and waits until it says that it is ready. It is killed at the end of the test.
func start(t *testing.T, o options) *platform {
	t.Helper()
	p := launch(t, newDir(t, o.modules...), o)
	p.awaitReady()
	return p
}

// launch runs a platform in dir without waiting.
func launch(t *testing.T, dir string, o options) *platform {
	t.Helper()
	return launchBinary(t, dir, filepath.Join(built, "platformd"), o)
}

func launchBinary(t *testing.T, dir, binary string, o options) *platform {
	t.Helper()
	if o.config != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(o.config), 0o600))
	}
	address := freeAddress(t)
	p := &platform{t: t, dir: dir, url: "http://" + address, log: &logBuffer{}, exited: make(chan struct{})}
	p.env = append(append(cleanEnv(), databaseOf(dir)...), o.env...)
	p.cmd = exec.Command(binary, "start", "--listen", address)
	p.cmd.Dir = dir
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	require.NoError(t, p.cmd.Start())
	go func() { p.exitErr = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		groups := groupsOf(filepath.Join(dir, "data"))
		require.Eventually(t, func() bool { return removeAll(groups) }, patience, 5*time.Millisecond, "modules outlive the daemon")
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", p.log)
		}
	})
	return p
}

// groupsOf finds the cgroups that a killed daemon leaves for the next one of its data directory, innermost first. Where none
// comes, the test removes them.
func groupsOf(dataDir string) []string {
	id := fnv.New64a()
	_, _ = id.Write([]byte(dataDir))
	name := "platformd-modules-" + hex.EncodeToString(id.Sum(nil))
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(path, name) {
			found = append(found, path)
		}
		return nil // groups come and go while we look
	})
	slices.Reverse(found)
	return found
}

// removeAll says whether all are gone; a group in which a process still lives cannot be removed.
func removeAll(dirs []string) bool {
	gone := true
	for _, dir := range dirs {
		if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			gone = false
		}
	}
	return gone
}

// cleanEnv is the environment without settings that the developer's shell may hold.
func cleanEnv() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PLATFORMD_") {
			env = append(env, entry)
		}
	}
	return env
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().String()
}

// awaitReady waits until the daemon has settled, ready or not.
func (p *platform) awaitReady() {
	p.t.Helper()
	p.await("the daemon to say that it is up", func() bool { return strings.Contains(p.log.String(), "platformd is up") })
}

// await waits for a condition; it fails the test if the daemon ends meanwhile.
func (p *platform) await(what string, condition func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond) // to ask costs more than to wait
	defer tick.Stop()
	for !condition() {
		select {
		case <-p.exited:
			require.FailNow(p.t, "the daemon ended while waiting for "+what)
		case <-tick.C:
			require.True(p.t, time.Now().Before(deadline), "waited too long for "+what)
		}
	}
}
