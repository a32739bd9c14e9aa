package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKeysWithAPassphrase makes a key that is encrypted as minisign does it, and has minisign open it. Here and nowhere else, as
// the race detector would take minutes for that, and the binary is built without it.
func TestKeysWithAPassphrase(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("minisign"); err != nil {
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			require.NoError(t, err, "fix: apt-get install minisign")
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		c := exec.CommandContext(t.Context(), program, args...)
		c.Dir, c.Stdin = dir, strings.NewReader("open sesame\n")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s %q: %s", program, args, out)
		return string(out)
	}
	for name, content := range map[string]string{
		"word":             "open sesame\n",
		"blog/module.yaml": "apiVersion: platformd/v1\nname: blog\nversion: 0.3.0\n",
		"blog/bin/blog":    "#!/bin/sh\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o755)) //nolint:gosec // one of them is executable
	}
	platformd := filepath.Join(built, "platformd")
	run(platformd, "pack", "blog", "-o", "p.tar.gz")
	run(platformd, "keygen", "-o", "key", "--passphrase-file", "word")
	run(platformd, "trust", "add", "key.pub")

	run(platformd, "sign", "p.tar.gz", "--key", "key", "--passphrase-file", "-", "--comment", "by platformd")
	require.Contains(t, run("minisign", "-Vm", "p.tar.gz", "-p", "key.pub"), "Trusted comment: by platformd")
	run("minisign", "-Sm", "p.tar.gz", "-s", "key", "-t", "by minisign")
	require.Regexp(t, "and says +by minisign", run(platformd, "verify", "p.tar.gz"))
}
