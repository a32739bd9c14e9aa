package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// addModule lays out a module in dir that runs hello's binary under another name, with what requires says.
func addModule(t *testing.T, dir, name, requires string) {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join(built, "modules", "hello", "bin", "hello"))
	require.NoError(t, err)
	folder := filepath.Join(dir, "modules", name)
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "bin", name), binary, 0o755))
	manifest := fmt.Sprintf("apiVersion: platformd/v1\nname: %s\nversion: 1.0.0\ndescription: Greets.\n%s"+
		"routes:\n  - { id: greet, method: GET, path: \"/greetings/{name}\", access: public }\n", name, requires)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "module.yaml"), []byte(manifest), 0o644))
}

// serves says whether the greeting of a module is answered with the status.
func (p *platform) serves(module string, status int) {
	p.t.Helper()
	require.Equal(p.t, status, p.do(http.MethodGet, "/api/v1/"+module+"/greetings/x", "", "").status, module)
}

func TestWithoutItsDependencyAModuleIsHeld(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "blog"}})
	view := p.module("blog")
	require.Equal(t, "held", view.State)
	require.Contains(t, view.Reason, "billing")
	down := p.do(http.MethodGet, "/api/v1/blog/posts", "", "")
	require.Equal(t, http.StatusServiceUnavailable, down.status)
	require.Contains(t, down.body, "billing")
	p.serves("hello", http.StatusOK)
	require.Contains(t, p.do(http.MethodGet, "/readyz?verbose", "", "").body, "billing")
	_, _, code := p.tryCLI("status")
	require.Equal(t, 4, code)
}

func TestAFailedMigrationHoldsDependentsAndNobodyElse(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello", "evil")
	addModule(t, dir, "shop", "requires: { modules: { evil: \"*\" } }\n")
	addModule(t, dir, "mall", "requires: { modules: { shop: \"*\" } }\n")
	addModule(t, dir, "park", "requires: { optional: { evil: \"*\" } }\n")
	p := launch(t, dir, options{env: []string{"EVIL_MODE=migration-fails"}})
	p.awaitReady()
	require.Equal(t, "failed", p.module("evil").State)
	for _, held := range []string{"shop", "mall"} {
		require.Equal(t, "held", p.module(held).State)
		require.Contains(t, p.module(held).Reason, "0002_broken", "the chain leads to what went wrong")
		p.serves(held, http.StatusServiceUnavailable)
	}
	p.serves("park", http.StatusOK)
	p.serves("hello", http.StatusOK)
}

func TestACycleIsNamedWholeAndTheRestServes(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello")
	addModule(t, dir, "ant", "requires: { modules: { bee: \"*\" } }\n")
	addModule(t, dir, "bee", "requires: { modules: { cat: \"*\" } }\n")
	addModule(t, dir, "cat", "requires: { modules: { ant: \"*\" } }\n")
	p := launch(t, dir, options{})
	p.awaitReady()
	for _, name := range []string{"ant", "bee", "cat"} {
		require.Equal(t, "held", p.module(name).State)
		require.Contains(t, p.module(name).Reason, "ant → bee → cat → ant")
	}
	p.serves("hello", http.StatusOK)
}

func TestABadManifestIsRefusedAlone(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello")
	addModule(t, dir, "typo", "permisions: []\n")
	addModule(t, dir, "never", "runtime: { upgrade: never }\n")
	p := launch(t, dir, options{})
	p.awaitReady()
	require.Contains(t, p.module("typo").Reason, "module.yaml:5")
	require.Contains(t, p.module("typo").Reason, `did you mean "permissions"?`)
	require.Contains(t, p.module("never").Reason, `runtime.upgrade "never" is not known`)
	p.serves("hello", http.StatusOK)
}

func TestTheOperatorConfiguresModules(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "billing", "blog"}, config: "modules:\n  overrides:\n" +
		"    hello: { enabled: false }\n    blog: { config: { pageSize: 2 } }\n"})
	require.Equal(t, "stopped", p.module("hello").State)
	p.serves("hello", http.StatusServiceUnavailable)

	token := p.token("blog.*")
	for range 3 {
		require.Equal(t, http.StatusCreated, p.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"x","body":"y"}`).status)
	}
	var page struct{ Items []any }
	p.do(http.MethodGet, "/api/v1/blog/posts", token, "").decode(t, &page)
	require.Len(t, page.Items, 2)

	bad := start(t, options{modules: []string{"hello", "billing", "blog"}, config: "modules:\n  overrides:\n" +
		"    blog: { config: { pageSize: many } }\n"})
	require.Contains(t, bad.module("blog").Reason, "modules.overrides.blog.config")
	bad.serves("hello", http.StatusOK)
}

func TestARequiredModuleGatesReadiness(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello")
	addModule(t, dir, "vital", "requires: { modules: { missing: \"*\" } }\nruntime: { required: true }\n")
	p := launch(t, dir, options{})
	p.awaitReady()
	require.Equal(t, http.StatusServiceUnavailable, p.do(http.MethodGet, "/readyz", "", "").status)
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/livez", "", "").status)
	metrics := p.do(http.MethodGet, "/metrics", "", "").body
	require.Contains(t, metrics, `platformd_module_state{module="hello",state="ready"} 1`)
	require.Contains(t, metrics, "platformd_http_requests_total", "requests are counted")
}
