package e2e

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// manyRestarts keeps a suite's kills from becoming a crash loop.
var manyRestarts = []string{"PLATFORMD_SUPERVISOR_RESTART_MAX=100000"}

// TestSupervisionG3Recovery kills a module while it works on a request: the end is noticed, the request answered, and the
// next one served, each within its time.
func TestSupervisionG3Recovery(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	kills := count(20, 1000)
	var noticed, answered, serving figures
	report(t, proof{"G3", "kill -9 noticed", kills}, noticed.stringer())
	report(t, proof{"G3", "in-flight call answered after that", kills}, answered.stringer())
	report(t, proof{"G3", "serving again after a kill", kills}, serving.stringer())
	p := start(t, options{modules: []string{"evil"}, env: manyRestarts})
	for n := range kills {
		pid := p.pid("evil")
		inFlight := make(chan time.Time, 1)
		go func() {
			got, err := p.try(http.MethodPost, "/api/v1/evil/wait", "", "")
			if err != nil || got.status != http.StatusBadGateway {
				t.Errorf("in-flight call: %v %v", got.status, err)
			}
			inFlight <- time.Now()
		}()
		p.await("the call to arrive", func() bool {
			return strings.TrimSpace(p.do(http.MethodGet, "/api/v1/evil/waiting", "", "").body) == "1"
		})
		killed := time.Now()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/evil/canceled", "", "").status)
		serving = append(serving, time.Since(killed))
		end := p.ended(n + 1)
		require.Equal(t, "signal killed", end.Reason)
		noticed = append(noticed, end.Time.Sub(killed))
		answered = append(answered, max(0, (<-inFlight).Sub(end.Time)))
	}
	require.LessOrEqual(t, noticed.percentile(99), bound(100*time.Millisecond), "noticed")
	require.LessOrEqual(t, answered.percentile(99), bound(200*time.Millisecond), "in-flight calls")
	require.LessOrEqual(t, serving.percentile(50), bound(500*time.Millisecond), "serving again, p50")
	require.LessOrEqual(t, serving.percentile(99), bound(1500*time.Millisecond), "serving again, p99")
}

// TestSupervisionG3Hangs stops a process, makes another one spin, and has a third hang up: none of them ends by itself.
func TestSupervisionG3Hangs(t *testing.T) {
	t.Parallel()
	rounds := count(2, 30)
	post := func(path string) func(*testing.T, *platform) {
		return func(t *testing.T, p *platform) {
			require.Equal(t, http.StatusOK, p.do(http.MethodPost, path, "", "").status)
		}
	}
	cases := map[string]struct {
		env    []string
		hurt   func(*testing.T, *platform)
		reason string
	}{
		"SIGSTOP": {nil, func(t *testing.T, p *platform) {
			require.NoError(t, syscall.Kill(p.pid("evil"), syscall.SIGSTOP))
		}, "health timeout"},
		"livelock": {nil, post("/api/v1/evil/livelock"), "health timeout"},
		"hang up":  {[]string{"EVIL_MODE=hang-up"}, post("/api/v1/evil/hang-up"), "it closed its connection to the core"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var noticed figures
			report(t, proof{"G3", name + " noticed", rounds}, noticed.stringer())
			p := start(t, options{modules: []string{"evil"}, env: append(c.env, manyRestarts...)})
			for n := range rounds {
				p.pid("evil")
				began := time.Now()
				c.hurt(t, p)
				end := p.ended(n + 1)
				require.Equal(t, c.reason, end.Reason)
				noticed = append(noticed, end.Time.Sub(began))
				require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/evil/canceled", "", "").status)
			}
			require.LessOrEqual(t, noticed.percentile(100), bound(3*time.Second))
		})
	}
}

// TestSupervisionG4CrashLoop has one module crash for as long as others serve: they must not notice.
func TestSupervisionG4CrashLoop(t *testing.T) {
	t.Parallel()
	enough, lasting := count(2_000, 20_000), time.Duration(count(6, 60))*time.Second
	var served int64
	report(t, proof{"G4", "requests to others beside a crash loop", enough}, nil)
	p := start(t, options{
		modules: []string{"hello", "evil"}, env: []string{"EVIL_MODE=exit-7", "PLATFORMD_SUPERVISOR_RESTART_MAX=3"},
	})
	p.await("the crash loop", func() bool { return p.module("evil").State == "crash_loop" })
	l := p.load("/api/v1/hello/greetings/x")
	began := time.Now()
	require.Eventually(t, func() bool {
		served = l.served.Load()
		return l.failed.Load() > 0 || served >= int64(enough) && time.Since(began) >= lasting
	}, lasting+patience, 10*time.Millisecond)
	l.end()
	require.Zero(t, l.failed.Load(), "of %d", served)
	require.Greater(t, p.module("evil").Restarts, 3, "it kept crashing")
}
