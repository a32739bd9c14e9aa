package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSupervisionG26FailedAlone lets a module fail in several ways beside strangers and dependents: its routes say that it is
// away, what needs it says so too, everybody else serves without being restarted, and the operator is told.
func TestSupervisionG26FailedAlone(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ state, dependent string }{
		"exit-7":          {"crash_loop", "ready"},
		"silent":          {"crash_loop", "ready"},
		"unhealthy":       {"crash_loop", "ready"},
		"missing-route":   {"failed", "ready"},
		"migration-fails": {"failed", "held"},
	}
	for mode, want := range cases {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			requests := count(50, 5000)
			report(t, proof{"G26", "requests to others beside one that fails: " + mode, requests}, nil)
			p := launch(t, neighbourhood(t), options{env: []string{"EVIL_MODE=" + mode, "PLATFORMD_SUPERVISOR_RESTART_MAX=1"}})
			p.awaitReady()
			p.await("its failure", func() bool { return p.module("evil").State == want.state })
			p.await("its dependent", func() bool { return p.module("shop").State == want.dependent })
			others := map[string]int{"hello": p.pid("hello"), "park": p.pid("park")}
			if want.dependent == "ready" {
				others["shop"] = p.pid("shop")
			} else {
				p.serves("shop", http.StatusServiceUnavailable)
			}
			for range requests {
				for name := range others {
					p.serves(name, http.StatusOK)
				}
			}
			for name, pid := range others {
				require.Equal(t, pid, p.pid(name), "nobody is restarted for evil's sake")
				require.Zero(t, p.module(name).Restarts, name)
			}
			p.tellsOf(want.state)
		})
	}
}

// neighbourhood lays out evil and those around it: a stranger, one that requires it, one that likes it, and one whose route
// needs it.
func neighbourhood(t *testing.T) string {
	t.Helper()
	dir := newDir(t, "hello", "evil")
	addModule(t, dir, "shop", "requires: { modules: { evil: \"*\" } }\n")
	addModule(t, dir, "park", "requires: { optional: { evil: \"*\" } }\n")
	addModule(t, dir, "stall", "requires: { optional: { evil: \"*\" } }\n")
	path := filepath.Join(dir, "modules/stall/module.yaml")
	manifest, err := os.ReadFile(path)
	require.NoError(t, err)
	needy := strings.Replace(string(manifest), "access: public", "access: public, needs: [evil]", 1)
	require.NoError(t, os.WriteFile(path, []byte(needy), 0o644))
	return dir
}

// tellsOf checks what clients and operators are told of evil's failure, and of the route of stall that needs it.
func (p *platform) tellsOf(state string) {
	p.t.Helper()
	for path, cause := range map[string]string{"/api/v1/evil/environ": "evil", "/api/v1/stall/greetings/x": "stall needs evil"} {
		away := p.do(http.MethodGet, path, "", "")
		require.Equal(p.t, http.StatusServiceUnavailable, away.status)
		require.NotEmpty(p.t, away.header.Get("Retry-After"))
		require.Contains(p.t, away.body, cause)
	}
	ready := p.do(http.MethodGet, "/readyz?verbose", "", "")
	require.Equal(p.t, http.StatusOK, ready.status, "nobody requires that evil works")
	require.Regexp(p.t, `(?m)^evil\s+`+state, ready.body)
	require.Regexp(p.t, `(?m)^stall\s+ready, degraded\s.*evil`, ready.body)
	status, _, code := p.tryCLI("status")
	require.Equal(p.t, 4, code)
	require.Regexp(p.t, `evil\s.*`+state, status)
}

// TestANameHasOneFolder gives evil the manifest of a module that exists, its own binary apart: nobody could say which is the
// true one, so neither runs, both are named, and a bystander serves.
func TestANameHasOneFolder(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello", "evil")
	addModule(t, dir, "park", "")
	manifest, err := os.ReadFile(filepath.Join(dir, "modules/hello/module.yaml"))
	require.NoError(t, err)
	require.NotContains(t, string(manifest), "runtime:")
	forged := string(manifest) + "runtime: { executable: bin/evil }\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules/evil/module.yaml"), []byte(forged), 0o644))
	p := launch(t, dir, options{})
	p.awaitReady()
	claimed := p.module("hello")
	require.Equal(t, "failed", claimed.State)
	require.Contains(t, claimed.Reason, "modules/evil, modules/hello")
	require.Empty(t, below(t, filepath.Join(dir, "modules/evil")))
	require.Empty(t, below(t, filepath.Join(dir, "modules/hello")))
	p.serves("park", http.StatusOK)
}
