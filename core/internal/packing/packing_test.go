package packing

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/core/internal/signing"
)

const program = "package main\n\nfunc main() {}\n"

// inGo is a module in Go that needs nothing to be downloaded.
func inGo(t *testing.T) string {
	t.Helper()
	dir := folder(t, map[string]string{
		"module.yaml": blogManifest + "grants: {database: true}\nmigrations: sql\nconfig: {schema: config.schema.json}\n" +
			"events: {publishes: [{type: blog.post.created, version: 1, schema: events/created.json}]}\n",
		"go.mod":                         "module example.com/blog\n\ngo 1.26\n",
		"main.go":                        program,
		"config.schema.json":             "{}",
		"events/created.json":            "{}",
		"events/unused.json":             "{}",
		"migrations/0001_posts.up.sql":   "CREATE TABLE posts (id INTEGER);\n",
		"migrations/0001_posts.down.sql": "DROP TABLE posts;\n",
		"LICENSE":                        "Take it.\n",
		"README.md":                      "Read it.\n",
		".env":                           "SECRET=1\n",
		"internal/x/x.go":                "package x\n",
		"testdata/image.binpb":           "no descriptors",
	})
	return dir
}

func TestPackGo(t *testing.T) {
	t.Parallel()
	first, second := inGo(t), inGo(t)
	platforms := []string{"linux/arm64", "linux/amd64", "linux/arm64"}
	var heard []string
	report, err := pack(t, Options{Dir: first, Platforms: platforms, Progress: func(what string, done, total int64) {
		require.Less(t, done, total)
		heard = append(heard, what)
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"building for linux/amd64", "building for linux/arm64", "packing", "checking"}, heard)
	require.Empty(t, report.Notes)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, report.Package.Platforms)
	require.Equal(t, []string{
		"LICENSE", "README.md", "bin/linux_amd64/blog", "bin/linux_arm64/blog", "config.schema.json", "events/created.json",
		"migrations/0001_posts.down.sql", "migrations/0001_posts.up.sql", "module.yaml",
	}, names(report.Package))
	info, err := os.Stat(report.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm())

	again, err := pack(t, Options{Dir: second, Platforms: platforms[:2]})
	require.NoError(t, err)
	require.Equal(t, report.Package.SHA256, again.Package.SHA256, "in another folder, at another time: the same bytes")
}

func TestPackGoForThisMachine(t *testing.T) {
	t.Parallel()
	dir := inGo(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "main.go")))
	write(t, filepath.Join(dir, "cmd", "blog", "main.go"), program)
	_, err := pack(t, Options{Dir: dir})
	require.ErrorContains(t, err, "no Go files in", "the compiler's words")
	report, err := pack(t, Options{Dir: dir, Main: "cmd/blog"})
	require.NoError(t, err)
	require.Equal(t, []string{runtime.GOOS + "/" + runtime.GOARCH}, report.Package.Platforms)

	_, err = pack(t, Options{Dir: dir, Main: "internal/x"})
	require.ErrorContains(t, err, "(fix: name the folder of the main package: --main ./cmd/blog)")
}

func TestPackGoRefuses(t *testing.T) {
	t.Parallel()
	dir := inGo(t)
	write(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() { undefined() }\n")
	output := filepath.Join(t.TempDir(), "p.tar.gz")
	_, err := pack(t, Options{Dir: dir, Output: output})
	require.ErrorContains(t, err, "main.go:3:15: undefined: undefined")
	require.ErrorContains(t, err, "(fix: correct what the compiler names")
	entries, err := os.ReadDir(filepath.Dir(output))
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is left")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Pack(ctx, Options{Dir: inGo(t), Output: output})
	require.ErrorIs(t, err, context.Canceled)
}

func TestGoIsMissing(t *testing.T) {
	dir := inGo(t)
	t.Setenv("PATH", t.TempDir())
	_, err := pack(t, Options{Dir: dir})
	require.ErrorContains(t, err, "there is no `go` on the PATH (fix: install Go")
}

func TestPackAsItIs(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"module.yaml": blogManifest, "bin/blog": elfFor("arm64"), "lib/blog.py": "pass\n", "bin/helper": "#!/bin/sh\n",
		".git/config": "x", ".env": "SECRET=1", "checksums.txt": "of a package that was unpacked here",
		"blog-0.2.0.tar.gz": "x", "blog-0.2.0.tar.gz.minisig": "x", "other/module.yaml": "of another module",
	})
	for _, output := range []string{"", filepath.Join(dir, "out")} {
		for range 2 { // the second time, the first package is there
			report, err := pack(t, Options{Dir: dir, Output: output})
			require.NoError(t, err)
			require.Equal(t, []string{"linux/arm64"}, report.Package.Platforms, "as its header says")
			require.Equal(t, []string{"bin/helper", "bin/linux_arm64/blog", "lib/blog.py", "module.yaml"}, names(report.Package))
			require.True(t, report.Package.Files[0].Executable)
			require.False(t, report.Package.Files[2].Executable)
		}
	}
	_, err := pack(t, Options{Dir: dir, Platforms: []string{"linux/amd64"}})
	require.ErrorContains(t, err, "bin/blog is an executable for linux/arm64, not for linux/amd64 (fix: put the one for it at "+
		filepath.Join(dir, "bin/linux_amd64/blog"))

	write(t, filepath.Join(dir, "bin/linux_amd64/blog"), elfFor("amd64"))
	report, err := pack(t, Options{Dir: dir, Platforms: []string{"linux/amd64", "linux/arm64"}})
	require.NoError(t, err)
	require.Equal(t, []string{"linux/amd64", "linux/arm64"}, report.Package.Platforms)
	report, err = pack(t, Options{Dir: dir})
	require.NoError(t, err)
	require.Equal(t, []string{"linux/amd64"}, report.Package.Platforms, "a folder like a package's says which it has")
}

func TestPackAScript(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"module.yaml": blogManifest, "bin/blog": "#!/bin/sh\n"})
	report, err := pack(t, Options{Dir: dir})
	require.NoError(t, err)
	require.Equal(t, []string{runtime.GOOS + "/" + runtime.GOARCH}, report.Package.Platforms)
	report, err = pack(t, Options{Dir: dir, Platforms: []string{"linux/riscv64", "darwin/arm64"}})
	require.NoError(t, err)
	require.Equal(t, []string{"bin/darwin_arm64/blog", "bin/linux_riscv64/blog", "module.yaml"}, names(report.Package))
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	secret, err := signing.Generate()
	require.NoError(t, err)
	key, err := secret.Text("")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		spoil func(dir string) error
		text  string
	}{
		"no manifest":      {replace("module.yaml", func(string) error { return nil }), "read manifest"},
		"bad manifest":     {put("module.yaml", "name: x\n", 0o644), "module.yaml:1:"},
		"bad migration":    {put("module.yaml", blogManifest+"grants: {database: true}\nmigrations: sql\n", 0o600), "migrations"},
		"no executable":    {replace("bin/blog", func(string) error { return nil }), "no Go code, and no executable"},
		"not executable":   {put("bin/blog", elfFor("amd64"), 0o600), "(fix: chmod +x "},
		"no program":       {put("bin/blog", "text", 0o755), "neither ELF nor Mach-O"},
		"link for program": {replace("bin/blog", symlink), "no ordinary file"},
		"link":             {replace("lib", symlink), "lib is no ordinary file"},
		"FIFO":             {replace("pipe", fifo), "pipe is no ordinary file"},
		"name":             {put("bl\x1bg", "x", 0o644), `"bl\x1bg"`},
		"two spellings":    {put("Bin", "x", 0o644), "differ in capitals only"},
		"secret key":       {put("blog.key", string(key), 0o600), "blog.key is a secret key"},
		"bad descriptors":  {put("blog.binpb", "x", 0o644), "no set of protobuf descriptors"},
		"no schema": {put("module.yaml", blogManifest+"config: {schema: c.json}\n", 0o600),
			`the package would be refused: module.yaml names "c.json"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{"module.yaml": blogManifest, "bin/blog": elfFor("amd64")})
			require.NoError(t, c.spoil(dir))
			output := filepath.Join(t.TempDir(), "p.tar.gz")
			_, err := pack(t, Options{Dir: dir, Output: output})
			require.ErrorContains(t, err, c.text)
			require.Regexp(t, `fix: `, err.Error())
			entries, err := os.ReadDir(filepath.Dir(output))
			require.NoError(t, err)
			require.Empty(t, entries, "nothing is left")
		})
	}
}

func put(name, content string, mode os.FileMode) func(string) error {
	return replace(name, func(path string) error { return os.WriteFile(path, []byte(content), mode) })
}

func fifo(path string) error { return syscall.Mkfifo(path, 0o600) }

func symlink(path string) error { return os.Symlink("/bin/true", path) }

func replace(name string, by func(path string) error) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return by(path)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"module.yaml": blogManifest, "bin/blog": elfFor("amd64")})
	out := t.TempDir()
	_, err := pack(t, Options{Dir: dir, Output: out})
	require.ErrorContains(t, err, "no regular file (fix: name another file)")
	_, err = pack(t, Options{Dir: dir, Output: filepath.Join(out, "none", "p.tar.gz")})
	require.ErrorContains(t, err, "(fix: choose a folder that is there")
	_, err = pack(t, Options{Dir: dir, Platforms: []string{"linux/mips"}})
	require.ErrorContains(t, err, `"linux/mips" is no platform that modules run on (fix: use some of darwin/amd64, `)

	file := filepath.Join(out, "p.tar.gz")
	write(t, file, "an older one")
	write(t, file+".minisig", "its signature")
	report, err := pack(t, Options{Dir: dir, Output: file})
	require.NoError(t, err)
	require.Equal(t, []string{"p.tar.gz.minisig is there, and was made for another file: sign again"}, report.Notes)
}

func TestOutputHasAName(t *testing.T) {
	dir := folder(t, map[string]string{"module.yaml": blogManifest, "bin/blog": elfFor("amd64")})
	t.Chdir(t.TempDir())
	report, err := Pack(t.Context(), Options{Dir: dir})
	require.NoError(t, err)
	require.Equal(t, "blog-0.3.0.tar.gz", filepath.Base(report.File))
	require.FileExists(t, "blog-0.3.0.tar.gz")
}

func TestDescriptors(t *testing.T) {
	t.Parallel()
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("blog.proto"), Package: proto.String("acme.blog.v1"),
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("PostService")}},
	}}})
	require.NoError(t, err)
	dir := folder(t, map[string]string{
		"module.yaml": blogManifest + "services: {provides: [acme.blog.v1.PostService]}\n", "bin/blog": elfFor("amd64"),
	})
	report, err := pack(t, Options{Dir: dir})
	require.NoError(t, err)
	require.Len(t, report.Notes, 1)
	require.Contains(t, report.Notes[0], "no *.binpb file in the folder describes acme.blog.v1.PostService")
	write(t, filepath.Join(dir, "proto", "blog.binpb"), string(set))
	report, err = pack(t, Options{Dir: dir})
	require.NoError(t, err)
	require.Empty(t, report.Notes)
	require.Contains(t, names(report.Package), "proto/blog.binpb")
}
