package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const blogManifest = "apiVersion: platformd/v1\nname: blog\nversion: 0.3.0\n"

// elfFor is the beginning of an executable for linux.
func elfFor(machine byte) string {
	return "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + string([]byte{machine, 0}) +
		strings.Repeat("\x00", 44) + "code"
}

const (
	amd64 = 0x3e
	arm64 = 0xb7
)

func blogSources() []Source {
	return []Source{
		{Name: "module.yaml", Content: []byte(blogManifest)},
		{Name: "bin/linux_amd64/blog", Executable: true, Content: []byte(elfFor(amd64))},
		{Name: "bin/linux_arm64/blog", Executable: true, Content: []byte(elfFor(arm64))},
		{Name: "migrations/0001_posts.up.sql", Content: []byte("CREATE TABLE posts (id INTEGER);\n")},
		{Name: "LICENSE", Content: []byte("Take it.\n")},
	}
}

func pack(t *testing.T, sources []Source) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Write(t.Context(), &out, sources))
	return out.Bytes()
}

// entry is one of a package that no packer of ours makes.
type entry struct {
	tar.Header
	content string
}

func regular(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

// blog is a package as it should be, entry by entry, with others among them. Only regular ones are in its checksums.
func blog(others ...entry) []entry {
	return withSums(append([]entry{
		regular("module.yaml", blogManifest), regular("bin/linux_amd64/blog", elfFor(amd64)),
	}, others...))
}

func withSums(entries []entry) []entry {
	listed := sums{}
	for _, e := range entries {
		if e.Typeflag == tar.TypeReg {
			listed[e.Name] = sumOf(e.content)
		}
	}
	return append([]entry{regular("checksums.txt", string(listed.text()))}, entries...)
}

func sumOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func tarOf(t testing.TB, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		require.NoError(t, w.WriteHeader(&e.Header))
		_, err := w.Write([]byte(e.content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func zip(t testing.TB, tape []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(tape)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// extract unpacks below a folder of its own, and makes sure that nothing is written beside it.
func extract(t *testing.T, data []byte, o Options) (*Package, string, error) {
	t.Helper()
	outer := t.TempDir()
	dir := filepath.Join(outer, "stage")
	require.NoError(t, os.Mkdir(dir, 0o700))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	p, err := Extract(t.Context(), bytes.NewReader(data), root, o)
	entries, readErr := os.ReadDir(outer)
	require.NoError(t, readErr)
	require.Len(t, entries, 1, "nothing is written outside of the folder")
	return p, dir, err
}

// tree maps the files below dir to their modes and contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, infoErr := e.Info()
		content, readErr := os.ReadFile(path)
		name, relErr := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = info.Mode().String() + " " + string(content)
		return errors.Join(infoErr, readErr, relErr)
	}))
	return all
}

func code(t *testing.T, err error) string {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Message)
	require.NotEmpty(t, e.Fix)
	require.NotContains(t, e.Error(), "\x1b", "nothing in an error may drive a terminal")
	return e.Code
}
