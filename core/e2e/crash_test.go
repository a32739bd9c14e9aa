package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKilledCoreLeavesNothing kills the daemon in ways it cannot answer, and looks for its modules.
func TestKilledCoreLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello", "evil")
	for range 3 {
		p := launch(t, dir, options{})
		p.awaitReady()
		pids := []int{p.pid("hello"), p.pid("evil")}
		require.NoError(t, p.cmd.Process.Kill())
		<-p.exited
		require.Eventually(t, func() bool { return !alive(pids[0]) && !alive(pids[1]) }, 5*time.Second, 5*time.Millisecond)
	}
	last := launch(t, dir, options{})
	last.awaitReady()
	last.pid("evil")
	last.stop()
	require.NoDirExists(t, filepath.Join(dir, "data", "run"), "an orderly stop removes the sockets")
}

// TestStopEndsModules sends SIGTERM while a stream is open.
func TestStopEndsModules(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "evil"}, env: []string{"PLATFORMD_SERVER_DRAINTIMEOUT=2s"}})
	pids := []int{p.pid("hello"), p.pid("evil")}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/v1/evil/events", nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	p.stop()
	for _, pid := range pids {
		require.False(t, alive(pid))
	}
}

// TestCrashIsOneRequestsLoss crashes the module under one request while others go on.
func TestCrashIsOneRequestsLoss(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "evil"}})
	before := p.pid("evil")
	require.Equal(t, http.StatusBadGateway, p.do(http.MethodGet, "/api/v1/evil/crash", "", "").status)
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/x", "", "").status)
	require.NotEqual(t, before, p.pid("evil"))

	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // on a used connection Go's client tries again
	res, err := fresh.Get(p.url + "/api/v1/evil/crash?after=head")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	require.Error(t, err, "a response cut half-way must not look whole")
	require.Contains(t, p.cli("logs", "--lines", "200"), "exit 2")
	panicked := p.do(http.MethodGet, "/api/v1/evil/panic", "", "")
	require.Equal(t, http.StatusInternalServerError, panicked.status)
	require.NotContains(t, panicked.body, "as asked", "what went wrong inside is for the log")
}

// TestHeldRequest sends a request while its module restarts: it waits, and is answered.
func TestHeldRequest(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello"}, env: []string{"PLATFORMD_SERVER_HOLDTIMEOUT=30s"}})
	for range 5 {
		require.NoError(t, syscall.Kill(p.pid("hello"), syscall.SIGKILL))
		p.await("the crash to be seen", func() bool { return p.module("hello").State != "ready" || p.module("hello").Restarts > 0 })
		require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/x", "", "").status)
	}
}

// TestBadStarts launches the evil module in every way it can fail to start; the rest of the platform must serve.
func TestBadStarts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ state, reason string }{
		"exit-silently":   {"crash_loop", "before it printed its handshake line"},
		"garbage-line":    {"crash_loop", "hello, I am not a handshake"},
		"huge-line":       {"crash_loop", "over 16384 bytes"},
		"silent":          {"", "startTimeout"},
		"tcp":             {"", "only a unix socket in its runtime folder"},
		"foreign-socket":  {"", "only a unix socket in its runtime folder"},
		"wrong-version":   {"", `speaks protocol version "99", this platformd speaks 1`},
		"netrpc":          {"", "only grpc"},
		"missing-route":   {"failed", "route echo is in module.yaml"},
		"extra-route":     {"failed", "route backdoor, which is not in module.yaml"},
		"migration-fails": {"failed", "0002_broken"},
		"init-fails":      {"crash_loop", "does not answer"},
		"unhealthy":       {"crash_loop", "no disk space left"},
	}
	for mode, want := range cases {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := launch(t, newDir(t, "hello", "evil"), options{env: []string{"EVIL_MODE=" + mode, "PLATFORMD_SUPERVISOR_RESTART_MAX=1"}})
			p.await("the reason", func() bool {
				if !strings.Contains(p.log.String(), "platformd is up") {
					return false
				}
				view := p.module("evil")
				return strings.Contains(view.Reason, want.reason) && (want.state == "" || view.State == want.state)
			})
			require.Empty(t, p.module("evil").Instances)
			require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/x", "", "").status)
			down := p.do(http.MethodGet, "/api/v1/evil/environ", "", "")
			require.Equal(t, http.StatusServiceUnavailable, down.status)
			require.NotEmpty(t, down.header.Get("Retry-After"))
			require.NotContains(t, down.body, want.reason, "what a module says is for the operator")
		})
	}
}

// TestKilledInsideAMigration kills the module's process in the middle of a step: the step is undone, and run once more.
func TestKilledInsideAMigration(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "evil")
	hold := filepath.Join(dir, "modules/evil/hold")
	require.NoError(t, os.WriteFile(hold, nil, 0o600))
	p := launch(t, dir, options{env: []string{"EVIL_MODE=migration-waits"}})
	for range 3 {
		var markers []string
		p.await("the step to begin", func() bool {
			markers, _ = filepath.Glob(filepath.Join(dir, "data/run/*/migrating"))
			return len(markers) == 1
		})
		require.NoError(t, os.Remove(markers[0]))
		require.NoError(t, syscall.Kill(processOf(t, filepath.Join(dir, "modules/evil/bin/evil")), syscall.SIGKILL))
	}
	require.NoError(t, os.Remove(hold))
	p.pid("evil")
	applied := regexp.MustCompile(`"@message":"migrated".*"id":"0002_slow"`).FindAllString(p.log.String(), -1)
	require.Len(t, applied, 1)
	require.Equal(t, 3, p.module("evil").Restarts)
}

// processOf finds the one process that runs an executable: modules do not know their number outside of their namespace.
func processOf(t *testing.T, executable string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		require.NoError(t, err)
		if executableOf(pid) == executable {
			return pid
		}
	}
	require.FailNow(t, "nobody runs "+executable)
	return 0
}

// TestEnvironment plants a canary in the daemon's environment.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"evil"}, env: []string{"AWS_SECRET_ACCESS_KEY=canary", "TZ=Europe/Berlin"}})
	environ := p.do(http.MethodGet, "/api/v1/evil/environ", "", "").body
	require.NotContains(t, environ, "canary")
	require.Contains(t, environ, "TZ=Europe/Berlin", "the manifest asks for it")
	require.NotContains(t, environ, "HOME=")
}

// TestNoSocketIsLeft kills a module and looks at the runtime folder.
func TestNoSocketIsLeft(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"evil"}})
	folders := func() int {
		entries, err := filepath.Glob(filepath.Join(p.dir, "data/run/*/plugin-dir*"))
		require.NoError(t, err)
		return len(entries)
	}
	require.Equal(t, 1, folders())
	for range 3 {
		before := p.pid("evil")
		require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
		p.await("a new process", func() bool {
			view := p.module("evil")
			return len(view.Instances) == 1 && view.Instances[0].PID != before
		})
	}
	p.await("the folders of those that are gone to go", func() bool { return folders() == 1 })
}
