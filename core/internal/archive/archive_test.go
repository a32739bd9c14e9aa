package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExtractForAPlatform(t *testing.T) {
	t.Parallel()
	data := pack(t, blogSources())
	p, dir, err := extract(t, data, Options{Platform: "linux/arm64"})
	require.NoError(t, err)
	require.Equal(t, "blog", p.Manifest.Name)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, p.Platforms)
	sum := sha256.Sum256(data)
	require.Equal(t, hex.EncodeToString(sum[:]), p.SHA256)
	require.Equal(t, int64(len(data)), p.Size)
	require.Equal(t, map[string]string{ // the folder is what an unpacked module's is
		"module.yaml":                  "-rw-r--r-- " + blogManifest,
		"bin/blog":                     "-rwxr-xr-x " + elfFor(arm64),
		"migrations/0001_posts.up.sql": "-rw-r--r-- CREATE TABLE posts (id INTEGER);\n",
		"LICENSE":                      "-rw-r--r-- Take it.\n",
	}, tree(t, dir))
	info, err := os.Stat(filepath.Join(dir, "migrations"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o755), info.Mode().Perm())

	require.Len(t, p.Files, 5)
	var unpacked int64
	for _, f := range p.Files {
		unpacked += f.Size
	}
	require.Equal(t, unpacked, p.Unpacked)
	require.Equal(t, File{Name: "bin/linux_amd64/blog", Size: int64(len(elfFor(amd64))), SHA256: sumOf(elfFor(amd64)),
		Executable: true, Platform: "linux/amd64"}, p.Files[1])
	require.Equal(t, "bin/blog", p.Files[2].Path)
	require.Equal(t, "module.yaml", p.Files[4].Path)
}

func TestExtractAsItIs(t *testing.T) {
	t.Parallel()
	p, dir, err := extract(t, pack(t, blogSources()), Options{})
	require.NoError(t, err)
	all := tree(t, dir)
	require.Len(t, all, 5)
	require.Equal(t, "-rwxr-xr-x "+elfFor(amd64), all["bin/linux_amd64/blog"])
	require.Equal(t, "bin/linux_amd64/blog", p.Files[1].Path)
}

func TestVerifyIsExtractWithoutWriting(t *testing.T) {
	t.Parallel()
	data := pack(t, blogSources())
	verified, err := Verify(t.Context(), bytes.NewReader(data), Options{Platform: "linux/amd64"})
	require.NoError(t, err)
	extracted, _, err := extract(t, data, Options{Platform: "linux/amd64"})
	require.NoError(t, err)
	for i := range extracted.Files {
		extracted.Files[i].Path = ""
	}
	require.Equal(t, extracted, verified)
}

func TestTheSameFilesMakeTheSameBytes(t *testing.T) {
	t.Parallel()
	first := pack(t, blogSources())
	onDisk := blogSources()
	slices.Reverse(onDisk)
	dir := t.TempDir()
	for i, s := range onDisk {
		onDisk[i].Path, onDisk[i].Content = filepath.Join(dir, hex.EncodeToString([]byte{byte(i)})), nil
		require.NoError(t, os.WriteFile(onDisk[i].Path, s.Content, 0o600))
		require.NoError(t, os.Chtimes(onDisk[i].Path, time.Now(), time.Now().Add(time.Duration(i)*time.Hour)))
	}
	require.Equal(t, first, pack(t, onDisk), "whatever order, place, time and mode they had")
}

// Anybody can look into a package, and check it, without platformd.
func TestOthersReadIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.tar.gz"), pack(t, blogSources()), 0o600))
	for _, command := range [][]string{{"tar", "-xzf", "p.tar.gz"}, {"sha256sum", "-c", "--strict", "checksums.txt"}} {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Skip(err)
		}
		c := exec.CommandContext(t.Context(), command[0], command[1:]...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.Equal(t, "-rwxr-xr-x "+elfFor(amd64), tree(t, dir)["bin/linux_amd64/blog"])
}

// And one that tar has made, folders and all, is read.
func TestOthersWriteIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := t.TempDir()
	for _, e := range blog(regular("web/index.html", "<p>")) {
		require.NoError(t, os.MkdirAll(filepath.Join(source, filepath.Dir(e.Name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(source, e.Name), []byte(e.content), 0o600))
	}
	file := filepath.Join(dir, "p.tar.gz")
	c := exec.CommandContext(t.Context(), "tar", "-C", source, "-czf", file, "checksums.txt", "module.yaml", "bin", "web")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	p, _, err := extract(t, data, Options{Platform: "linux/amd64"})
	require.NoError(t, err)
	require.Len(t, p.Files, 3)
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	for want, sources := range map[string][]Source{
		"bad_name":       append(blogSources(), Source{Name: "web/ü.html"}),
		"name_leads_out": append(blogSources(), Source{Name: "../x"}),
		"duplicate_name": append(blogSources(), Source{Name: "LICENSE"}),
		"case_collision": append(blogSources(), Source{Name: "License"}),
	} {
		require.Equal(t, want, code(t, Write(t.Context(), &bytes.Buffer{}, sources)))
	}
	require.Equal(t, "duplicate_name",
		code(t, Write(t.Context(), &bytes.Buffer{}, append(blogSources(), Source{Name: "checksums.txt"}))))
	require.ErrorContains(t, Write(t.Context(), &bytes.Buffer{}, []Source{{Name: "a", Path: filepath.Join(t.TempDir(), "none")}}),
		"pack a: ")
}

func TestWriteSeesAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	require.NoError(t, os.WriteFile(path, []byte("before"), 0o600))
	spoil := writerFunc(func(p []byte) (int, error) { return len(p), os.WriteFile(path, []byte("after!"), 0o600) })
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // makes the writer write before it comes to log
	for i := range big {
		big[i] ^= byte(i * i >> 7)
	}
	err := Write(t.Context(), spoil, []Source{{Name: "big", Content: big}, {Name: "log", Path: path}})
	require.ErrorContains(t, err, "pack log: it has changed meanwhile")
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestOpenDoesNotWaitForAFIFO(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for path, want := range map[string]string{fifo: "not_a_file", dir: "not_a_file", filepath.Join(dir, "none"): "unreadable"} {
		_, err := Open(path)
		require.Equal(t, want, code(t, err))
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Verify(ctx, bytes.NewReader(pack(t, blogSources())), Options{})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, Write(ctx, &bytes.Buffer{}, blogSources()), context.Canceled)
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("mine"), 0o600))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	_, err = Extract(t.Context(), bytes.NewReader(pack(t, blogSources())), root, Options{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "(fix: ")
	require.Equal(t, "-rw------- mine", tree(t, dir)["LICENSE"])
}

func TestPlatformOf(t *testing.T) {
	t.Parallel()
	for want, head := range map[string]string{
		"linux/amd64":  elfFor(amd64),
		"linux/arm64":  elfFor(arm64),
		"linux/s390x":  "\x7fELF\x02\x02\x01" + string(make([]byte, 9)) + "\x00\x02\x00\x16",
		"darwin/arm64": "\xcf\xfa\xed\xfe\x0c\x00\x00\x01",
		"darwin/amd64": "\xcf\xfa\xed\xfe\x07\x00\x00\x01",
		Script:         "#!/bin/sh\n",
	} {
		require.Equal(t, want, PlatformOf([]byte(head)), want)
	}
	for _, head := range []string{"", "MZ", "\x7fELF", "text", "\x7fELF\x02\x01\x01\x09" + elfFor(amd64)[8:], elfFor(8),
		"\xcf\xfa\xed\xfe\x01\x00\x00\x00", "\xcf\xfa\xed\xfe"} {
		require.Empty(t, PlatformOf([]byte(head)), "%q", head)
	}
	require.Contains(t, Platforms(), "linux/riscv64")
	require.Contains(t, Platforms(), "darwin/arm64")
}
