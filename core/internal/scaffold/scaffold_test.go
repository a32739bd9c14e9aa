package scaffold

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkout is this one.
func checkout(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	require.NoError(t, err)
	return dir
}

// A new module builds, is vetted and passes its own tests, with nothing but what the SDK needs, and no network.
func TestNewModule(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "guestbook")
	report, err := New(Options{Name: "guestbook", Dir: dir, SDK: checkout(t)})
	require.NoError(t, err)
	require.Equal(t, []string{"README.md", ".gitignore", "main.go", "main_test.go", "module.yaml", "go.mod", "go.sum"}, report.Files)
	require.Equal(t, []string{"cd " + dir, "go test ./...", "platformd pack"}, report.Commands)
	for _, name := range report.Files {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotContains(t, string(text), "{{")
	}
	out, err := exec.CommandContext(t.Context(), "gofmt", "-l", dir).CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(out), "it is formatted")
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		c := exec.CommandContext(t.Context(), "go", args...)
		c.Dir = dir
		c.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly", "GOWORK=off")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

func TestInsideOfACheckout(t *testing.T) {
	t.Parallel()
	inside := t.TempDir()
	for name, content := range map[string]string{
		"plugin-api/go.mod": "module " + sdk + "\n\ngo 1.26.0\n\nrequire example.com/x v1.2.3\n",
		"plugin-api/go.sum": "sums\n",
		"go.work":           "go 1.26.0\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(inside, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(inside, name), []byte(content), 0o600))
	}
	dir := filepath.Join(inside, "plugins", "shop")
	report, err := New(Options{Name: "shop", Dir: dir, GoModule: "example.com/acme/shop"})
	require.NoError(t, err)
	require.Equal(t, []string{"cd " + dir, "go work use .", "go test ./...", "platformd pack"}, report.Commands)
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.Equal(t, `module example.com/acme/shop

go 1.26.0

require github.com/platformd/platformd/plugin-api v0.0.0

require example.com/x v1.2.3 // indirect

replace github.com/platformd/platformd/plugin-api => ../../plugin-api

replace github.com/platformd/platformd/proto => ../../proto
`, string(text))
}

func TestFromARelease(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.2.3", "v1.2.3-rc.1"} {
		dir := filepath.Join(t.TempDir(), "x")
		report, err := New(Options{Name: "shop", Dir: dir, Version: version})
		require.NoError(t, err)
		require.Equal(t, []string{"cd " + dir, "go mod tidy", "go test ./...", "platformd pack"}, report.Commands)
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		require.Equal(t, "module example.com/shop\n\ngo 1.26.0\n\nrequire github.com/platformd/platformd/plugin-api v"+
			strings.TrimPrefix(version, "v")+"\n", string(text))
	}
	for _, version := range []string{"0.1.0-dev", "unknown", "1.2.3-4-gabcdef", "1.2.3-dirty", ""} {
		dir := filepath.Join(t.TempDir(), "x")
		_, err := New(Options{Name: "shop", Dir: dir, Version: version})
		require.ErrorContains(t, err, "(fix: name a checkout of platformd: --sdk FOLDER)")
		require.NoDirExists(t, dir)
	}
}

// The template names the Go version that the SDK needs.
func TestGoVersion(t *testing.T) {
	t.Parallel()
	mod, _, err := readSDK(checkout(t))
	require.NoError(t, err)
	require.Equal(t, goVersion, mod.Go.Version)
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"": "", "A": "", "a": "", "core": "reserved", "../x": "", "pg_x": "reserved", strings.Repeat("x", 200): "",
		"a b": "", "x\x1b[2J": "", "bl\u043eg": "", "a: {b": "",
	} {
		dir := filepath.Join(t.TempDir(), "x")
		_, err := New(Options{Name: name, Dir: dir, Version: "1.0.0"})
		require.ErrorContains(t, err, "cannot be a module's name: ", name)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "(fix: ")
		require.NotContains(t, err.Error(), "\x1b")
		require.NoDirExists(t, dir)
	}

	dir := t.TempDir()
	_, err := New(Options{Name: "shop", Dir: dir, Version: "1.0.0"})
	require.NoError(t, err, "an empty folder will do")
	_, err = New(Options{Name: "shop", Dir: dir, Version: "1.0.0"})
	require.ErrorContains(t, err, "is there and is not empty")
	_, err = New(Options{Name: "shop", Dir: filepath.Join(dir, "main.go"), Version: "1.0.0"})
	require.ErrorContains(t, err, "(fix: name another one with --dir)")
	_, err = New(Options{Name: "shop", Dir: filepath.Join(dir, "x"), Version: "1.0.0", GoModule: "no path"})
	require.ErrorContains(t, err, "(fix: use one such as example.com/shop)")
	_, err = New(Options{Name: "shop", Dir: filepath.Join(dir, "x"), SDK: t.TempDir()})
	require.ErrorContains(t, err, "is no checkout of platformd")
}

func TestNamesThatDoNotExistYet(t *testing.T) {
	t.Chdir(t.TempDir())
	report, err := New(Options{Name: "shop", Version: "1.0.0"})
	require.NoError(t, err)
	require.Equal(t, "shop", report.Dir)
	require.FileExists(t, "shop/module.yaml")
}
