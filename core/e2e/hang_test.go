package e2e

import (
	"context"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	evilStop  = 3 * time.Second // runtime.stopTimeout and startTimeout in evil/module.yaml
	evilStart = 5 * time.Second
)

// TestSupervisionG2NothingHangs: whatever a module does, an order to it and the end of the platform take no longer than its
// timeouts and a second, and leave nothing behind in the core.
func TestSupervisionG2NothingHangs(t *testing.T) {
	t.Parallel()
	post := func(path string) func(*testing.T, *platform) {
		return func(t *testing.T, p *platform) {
			require.Equal(t, http.StatusOK, p.do(http.MethodPost, path, "", "").status)
		}
	}
	cases := map[string]struct {
		mode string
		hurt func(*testing.T, *platform)
	}{
		"behaves":      {"", func(*testing.T, *platform) {}},
		"hang in Stop": {"hang-stop", func(*testing.T, *platform) {}},
		"hang in Drain": {"hang-drain", func(t *testing.T, p *platform) {
			p.pid("evil")
		}},
		"livelock": {"", post("/api/v1/evil/livelock")},
		"SIGSTOP": {"", func(t *testing.T, p *platform) {
			require.NoError(t, syscall.Kill(p.pid("evil"), syscall.SIGSTOP))
		}},
		"hung up":                  {"hang-up", post("/api/v1/evil/hang-up")},
		"a grandchild holds pipes": {"", post("/api/v1/evil/grandchild")},
		"a request that does not end": {"", func(_ *testing.T, p *platform) {
			go func() { _, _ = p.try(http.MethodPost, "/api/v1/evil/wait", "", "") }()
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rounds := count(1, 10)
			var orders figures
			report(t, proof{"G2", "stop, start, restart, shutdown: " + name, rounds}, orders.stringer())
			p := start(t, options{modules: []string{"hello", "evil"}, env: append([]string{
				"EVIL_MODE=" + c.mode, "PLATFORMD_SERVER_DRAINTIMEOUT=1s",
			}, manyRestarts...)})
			timed := func(limit time.Duration, what ...string) {
				began := time.Now()
				p.order(append([]string{"module"}, what...)...)
				orders = append(orders, time.Since(began))
				require.LessOrEqual(t, time.Since(began), bound(limit+time.Second), what)
			}
			baseline := descriptors(t, p.cmd.Process.Pid)
			for range rounds {
				c.hurt(t, p)
				timed(evilStop, "stop", "evil")
				require.Equal(t, "stopped", p.module("evil").State)
				timed(evilStart, "start", "evil")
				c.hurt(t, p)
				timed(evilStart+evilStop, "restart", "evil")
				p.pid("evil")
			}
			p.await("descriptors to be closed", func() bool { return descriptors(t, p.cmd.Process.Pid) <= baseline+4 })
			c.hurt(t, p)
			began := time.Now()
			p.stop()
			orders = append(orders, time.Since(began))
			require.LessOrEqual(t, time.Since(began), bound(2*time.Second+evilStop+time.Second), "shutdown")
		})
	}
}

// order runs a command that may fail for a reason, such as a module that crashes meanwhile, but must end.
func (p *platform) order(args ...string) {
	p.t.Helper()
	_, errOut, code := p.tryCLI(args...)
	require.Contains(p.t, []int{0, 1}, code, errOut)
}

// TestSupervisionG2StoppedStarts stops the process before it shakes hands, and after.
func TestSupervisionG2StoppedStarts(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]string{"before the handshake": "silent", "after it": "hang-describe"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newDir(t, "hello", "evil")
			p := launch(t, dir, options{env: []string{"EVIL_MODE=" + mode, "PLATFORMD_SUPERVISOR_RESTART_MAX=1"}})
			var evil []int
			p.await("its process", func() bool { evil = below(t, dir+"/modules/evil"); return len(evil) > 0 })
			began := time.Now()
			require.NoError(t, syscall.Kill(evil[0], syscall.SIGSTOP))
			p.await("the start to fail", func() bool { return len(p.records("the module did not start")) > 0 })
			require.LessOrEqual(t, time.Since(began), bound(evilStart+time.Second))
			require.Eventually(t, func() bool { return !alive(evil[0]) }, patience, 5*time.Millisecond)
			require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/x", "", "").status)
		})
	}
}

// TestSupervisionG8CleanStop stops the platform under load on kept connections: every request that was sent is answered.
func TestSupervisionG8CleanStop(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	stops := count(3, 50)
	var took figures
	report(t, proof{"G8", "SIGTERM under keep-alive load", stops}, took.stringer())
	dir := newDir(t, "hello")
	for range stops {
		p := launch(t, dir, options{env: []string{"PLATFORMD_SERVER_DRAINTIMEOUT=5s"}})
		p.awaitReady()
		p.pid("hello")
		l := p.load("/api/v1/hello/greetings/x")
		p.await("load", func() bool { return l.served.Load() > loadRate/4 || l.failed.Load() > 0 })
		began := time.Now()
		p.stop()
		took = append(took, time.Since(began))
		require.LessOrEqual(t, time.Since(began), bound(8*time.Second))
		l.end()
		require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
	}
}

// TestRestartUnderLoad renews a module's processes, one or several, and nobody notices.
func TestRestartUnderLoad(t *testing.T) {
	t.Parallel()
	for _, instances := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d instances", instances), func(t *testing.T) {
			t.Parallel()
			dir := newDir(t, "evil")
			if instances > 1 {
				appendRuntime(t, dir, "evil", fmt.Sprintf("  instances: %d\n", instances))
			}
			p := launch(t, dir, options{})
			p.awaitReady()
			p.await("all instances", func() bool { return len(p.module("evil").Instances) == instances })
			l := p.load("/api/v1/evil/request/one/rest")
			for range count(3, 20) {
				served := l.served.Load()
				before := p.module("evil").Instances
				p.cli("module", "restart", "evil")
				after := p.module("evil").Instances
				require.Len(t, after, instances)
				for i := range after {
					require.NotEqual(t, before[i].PID, after[i].PID)
				}
				p.await("load on the new ones", func() bool { return l.served.Load() > served+50 || l.failed.Load() > 0 })
			}
			l.end()
			require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
			require.Zero(t, p.module("evil").Restarts, "a restart is no crash")
		})
	}
}

// TestFollowedLog follows a module's log from the command line while it writes, at a level and from a time.
func TestFollowedLog(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"evil"}})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	follow := p.command(ctx, "logs", "evil", "-f", "--level", "error", "--since", "1h")
	var out logBuffer
	follow.Stdout = &out
	require.NoError(t, follow.Start())
	require.Equal(t, http.StatusInternalServerError, p.do(http.MethodGet, "/api/v1/evil/panic", "", "").status)
	require.Eventually(t, func() bool { return len(out.String()) > 0 }, patience, 5*time.Millisecond)
	require.Contains(t, out.String(), "as asked")
	require.NotContains(t, out.String(), "[INFO]")
	require.NoError(t, follow.Process.Signal(syscall.SIGINT))
	require.NoError(t, follow.Wait(), "Ctrl-C is how following ends")
	require.Contains(t, p.cli("logs", "evil", "--level", "error"), "as asked")
	require.Empty(t, p.cli("logs", "evil", "--since", time.Now().Add(time.Hour).Format(time.RFC3339)))
}
