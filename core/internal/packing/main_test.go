package packing

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/archive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const blogManifest = "apiVersion: platformd/v1\nname: blog\nversion: 0.3.0\n"

// folder makes a module's folder. What is in bin is executable.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	mode := os.FileMode(0o644)
	if filepath.Base(filepath.Dir(path)) == "bin" || filepath.Base(filepath.Dir(filepath.Dir(path))) == "bin" {
		mode = 0o755
	}
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
}

// elfFor is the beginning of an executable for linux/ARCH.
func elfFor(arch string) string {
	machine := map[string]byte{"amd64": 0x3e, "arm64": 0xb7}[arch]
	return "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00" + string([]byte{machine, 0}) + "code"
}

func pack(t *testing.T, o Options) (*Report, error) {
	t.Helper()
	if o.Output == "" {
		o.Output = filepath.Join(t.TempDir(), "package.tar.gz")
	}
	return Pack(t.Context(), o)
}

func names(p *archive.Package) []string {
	var all []string
	for _, f := range p.Files {
		all = append(all, f.Name)
	}
	return all
}
