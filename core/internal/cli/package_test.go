package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/archive"
	"github.com/platformd/platformd/core/internal/catalog"
)

// alone runs a command without a daemon.
func alone(t *testing.T, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), args, Deps{Out: &out, Err: &err, Env: []string{}, Version: "1.2.3-test"})
	return result{out: out.String(), err: err.String(), code: code}
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	r := alone(t, args...)
	require.Equal(t, ExitOK, r.code, "%q: %s", args, r.err)
	return r.out
}

// What an author does, and what a platform makes of it: a new module becomes a package that is verified, and whose folder a
// catalog takes.
func TestFromNewModuleToInstalledFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	checkout, err := filepath.Abs("../../..")
	require.NoError(t, err)
	must(t, "new", "module", "guestbook", "--dir", in("guestbook"), "--sdk", checkout)
	must(t, "pack", in("guestbook"), "-o", in("p.tar.gz"))
	must(t, "keygen", "-o", in("key"), "--no-passphrase")
	for name, mode := range map[string]os.FileMode{"key": 0o600, "key.pub": 0o644} {
		info, err := os.Stat(in(name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
	must(t, "sign", in("p.tar.gz"), "--key", in("key"))
	must(t, "trust", "add", in("key.pub"), "--data-dir", in("data"))
	seen := decode[examination](t, must(t, "verify", in("p.tar.gz"), "--data-dir", in("data"), "-o", "json"))
	require.True(t, seen.Valid)

	file, err := archive.Open(in("p.tar.gz"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, os.MkdirAll(in("modules/guestbook"), 0o755))
	root, err := os.OpenRoot(in("modules/guestbook"))
	require.NoError(t, err)
	defer root.Close()
	p, err := archive.Extract(t.Context(), file, root, archive.Options{Platform: runtime.GOOS + "/" + runtime.GOARCH})
	require.NoError(t, err)
	require.Equal(t, seen.SHA256, p.SHA256)
	modules, err := catalog.Scan(catalog.Options{Dir: in("modules")})
	require.NoError(t, err)
	require.Empty(t, modules.Problems)
	require.NotNil(t, modules.Get("guestbook"))
}

// Comments may hold what a terminal would obey: nothing of it is printed. Of a manifest that does, nothing is left at all.
func TestVerifyIsHarmless(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	require.NoError(t, os.MkdirAll(in("blog/bin"), 0o755))
	for name, content := range map[string]string{
		"blog/module.yaml": "apiVersion: platformd/v1\nname: blog\nversion: 0.3.0\ndescription: Posts.\n",
		"blog/bin/blog":    "#!/bin/sh\n",
	} {
		require.NoError(t, os.WriteFile(in(name), []byte(content), 0o755)) //nolint:gosec // an executable
	}
	must(t, "pack", in("blog"), "-o", in("p.tar.gz"))
	must(t, "keygen", "-o", in("key"), "--no-passphrase")
	public, err := os.ReadFile(in("key.pub"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(public), "\n")
	require.NoError(t, os.WriteFile(in("key.pub"), []byte("untrusted comment: mine\x1b[2J\u202e\n"+rest), 0o600))
	must(t, "sign", in("p.tar.gz"), "--key", in("key"), "--comment", "all\x1b[2J\u009bclear")
	must(t, "trust", "add", in("key.pub"), "--data-dir", in("data"))
	for _, args := range [][]string{{"trust", "ls"}, {"verify", in("p.tar.gz")}, {"verify", in("p.tar.gz"), "-o", "json"}} {
		out := must(t, append(args, "--data-dir", in("data"))...)
		require.NotRegexp(t, "[\x1b\u009b\u202e]", out)
		require.Contains(t, out, "mine")
	}
}
