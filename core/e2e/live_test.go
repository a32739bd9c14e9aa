package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestModulesComeAndGo adds a module to a running platform, and takes it away again.
func TestModulesComeAndGo(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello"}})
	before := p.pid("hello")
	p.serves("shop", http.StatusNotFound)
	addModule(t, p.dir, "shop", "")
	addModule(t, p.dir, "typo", "permisions: []\n")
	p.cli("reload")
	p.serves("shop", http.StatusOK)
	require.Contains(t, p.module("typo").Reason, "did you mean", "it is known, as after a start")
	p.serves("typo", http.StatusServiceUnavailable)
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "modules", "typo")))

	addModule(t, p.dir, "mall", "requires: { modules: { shop: \"*\" } }\n")
	p.cli("module", "start", "mall")
	p.serves("mall", http.StatusOK)

	aside := filepath.Join(p.dir, "shop")
	require.NoError(t, os.Rename(filepath.Join(p.dir, "modules", "shop"), aside))
	_, said, code := p.tryCLI("reload")
	require.Equal(t, 1, code)
	require.Contains(t, said, "mall requires shop")
	p.serves("shop", http.StatusOK)
	p.serves("mall", http.StatusOK)

	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "modules", "mall")))
	p.cli("reload")
	p.serves("shop", http.StatusNotFound)
	p.serves("mall", http.StatusNotFound)
	p.serves("typo", http.StatusNotFound)
	_, _, code = p.tryCLI("module", "show", "shop")
	require.Equal(t, 5, code)
	require.Equal(t, before, p.pid("hello"), "nothing happened to the others")
	require.Contains(t, p.cli("module", "ls"), "hello")
}

// TestDisabledModules stay so, and those that require them are held.
func TestDisabledModules(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello")
	addModule(t, dir, "shop", "")
	addModule(t, dir, "mall", "requires: { modules: { shop: \"*\" } }\n")
	first := launch(t, dir, options{config: "modules: { overrides: { hello: { enabled: true } } }\n"})
	first.awaitReady()
	first.cli("module", "disable", "shop")
	off := func(p *platform) {
		p.serves("shop", http.StatusServiceUnavailable)
		p.serves("mall", http.StatusServiceUnavailable)
		p.serves("hello", http.StatusOK)
		require.Equal(t, "stopped", p.module("shop").State)
		require.Equal(t, "held", p.module("mall").State)
		require.Contains(t, p.module("mall").Reason, "disabled by an operator")
	}
	off(first)
	_, said, code := first.tryCLI("module", "disable", "hello")
	require.Equal(t, 1, code)
	require.Contains(t, said, "config.yaml says")
	_, said, code = first.tryCLI("module", "start", "shop")
	require.Equal(t, 1, code)
	require.Contains(t, said, "fix: ")
	first.stop()

	second := launch(t, dir, options{})
	second.awaitReady()
	off(second)
	second.cli("module", "enable", "shop")
	second.serves("shop", http.StatusOK)
	second.serves("mall", http.StatusOK)
	require.Contains(t, second.cli("audit", "search", "--action", "module.enable", "-o", "json"), "module/shop")
}

// TestWhatWouldEndOthersIsRefused: an upgrade is judged by all that run.
func TestWhatWouldEndOthersIsRefused(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	addModule(t, dir, "shop", "")
	addModule(t, dir, "mall", "requires: { modules: { shop: \"^1.0\" } }\n")
	p := launch(t, dir, options{})
	p.awaitReady()
	before := p.pid("shop")
	manifest := filepath.Join(dir, "modules", "shop", "module.yaml")
	text, err := os.ReadFile(manifest)
	require.NoError(t, err)
	change := func(version string) {
		t.Helper()
		require.NoError(t, os.WriteFile(manifest, []byte(strings.Replace(string(text), "version: 1.0.0", version, 1)), 0o644))
	}
	change("version: 2.0.0")
	_, said, code := p.tryCLI("module", "restart", "shop")
	require.Equal(t, 1, code)
	require.Contains(t, said, "mall requires shop ^1.0, but 2.0.0 is installed")
	change("version: 1.1.0\nversoin: 3")
	_, said, code = p.tryCLI("module", "restart", "shop")
	require.Equal(t, 1, code)
	require.Contains(t, said, "did you mean")
	require.Equal(t, before, p.pid("shop"))
	p.serves("shop", http.StatusOK)
	p.serves("mall", http.StatusOK)

	change("version: 1.1.0")
	p.cli("module", "restart", "shop")
	require.Equal(t, "1.1.0", p.module("shop").Version)
	require.NotEqual(t, before, p.pid("shop"))
	p.serves("mall", http.StatusOK)
	require.Contains(t, p.cli("reload", "-o", "json"), "[]")
}
