package catalog

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// defect is a way to spoil the module blog.
type defect struct {
	spoil func(t *testing.T, dir, blog string) // dir holds the modules folder
	code  string
	text  string // a part of the message
}

func manifestDefects() map[string]defect {
	return map[string]defect{
		"bad manifest": {func(t *testing.T, _, blog string) {
			write(t, filepath.Join(blog, "module.yaml"), manifestText("blog", "0.3.0", "colour: red\n"), 0o644)
		}, "unknown_key", "blog/module.yaml:4: unknown key \"colour\""},
		"empty manifest": {func(t *testing.T, _, blog string) {
			write(t, filepath.Join(blog, "module.yaml"), "", 0o644)
		}, "empty", "the manifest is empty"},
		"manifest is a FIFO": {func(t *testing.T, _, blog string) {
			replace(t, filepath.Join(blog, "module.yaml"), func(path string) error { return syscall.Mkfifo(path, 0o600) })
		}, "not_a_file", "not a regular file"},
		"manifest is a folder": {func(t *testing.T, _, blog string) {
			replace(t, filepath.Join(blog, "module.yaml"), func(path string) error { return os.Mkdir(path, 0o755) })
		}, "not_a_file", "not a regular file"},
		"manifest leads out": {func(t *testing.T, dir, blog string) {
			write(t, filepath.Join(dir, "elsewhere.yaml"), manifestText("blog", "0.3.0", ""), 0o644)
			link(t, filepath.Join(dir, "elsewhere.yaml"), filepath.Join(blog, "module.yaml"))
		}, "outside", "leads out of"},
		"manifest leads nowhere": {func(t *testing.T, dir, blog string) {
			link(t, filepath.Join(dir, "nowhere"), filepath.Join(blog, "module.yaml"))
		}, "unreadable", "no such file"},
		"folder leads out": {func(t *testing.T, dir, blog string) {
			require.NoError(t, os.Rename(blog, filepath.Join(dir, "blog")))
			link(t, filepath.Join(dir, "blog"), blog)
		}, "outside", "leads out of"},
		"folder leads nowhere": {func(t *testing.T, dir, blog string) {
			require.NoError(t, os.RemoveAll(blog))
			link(t, filepath.Join(dir, "nowhere"), blog)
		}, "unreadable", "no such file"},
		"other name": {func(t *testing.T, _, blog string) {
			write(t, filepath.Join(blog, "module.yaml"), manifestText("shop", "0.3.0", ""), 0o644)
		}, "name_mismatch", `the name is "shop", but the folder is "blog"`},
	}
}

func executableDefects() map[string]defect {
	return map[string]defect{
		"no executable": {func(t *testing.T, _, blog string) {
			require.NoError(t, os.Remove(filepath.Join(blog, "bin", "blog")))
		}, "executable_missing", "modules/blog/bin/blog is not there"},
		"executable is a folder": {func(t *testing.T, _, blog string) {
			replace(t, filepath.Join(blog, "bin", "blog"), func(path string) error { return os.Mkdir(path, 0o755) })
		}, "executable_not_a_file", "not a regular file but a folder"},
		"executable is a FIFO": {func(t *testing.T, _, blog string) {
			replace(t, filepath.Join(blog, "bin", "blog"), func(path string) error { return syscall.Mkfifo(path, 0o700) })
		}, "executable_not_a_file", "not a regular file"},
		"executable is not executable": {func(t *testing.T, _, blog string) {
			require.NoError(t, os.Chmod(filepath.Join(blog, "bin", "blog"), 0o644))
		}, "executable_not_executable", "may not be executed: -rw-r--r--"},
		"executable is text": {func(t *testing.T, _, blog string) {
			write(t, filepath.Join(blog, "bin", "blog"), "this is not a program", 0o755)
		}, "executable_wrong_architecture", "neither an ELF binary nor a script"},
		"executable is empty": {func(t *testing.T, _, blog string) {
			write(t, filepath.Join(blog, "bin", "blog"), "", 0o755)
		}, "executable_wrong_architecture", "neither an ELF binary nor a script"},
		"executable for another machine": {func(t *testing.T, _, blog string) {
			write(t, filepath.Join(blog, "bin", "blog"), "\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\x08\x00", 0o755)
		}, "executable_wrong_architecture", "made for EM_MIPS; this is " + runtime.GOOS + "/" + runtime.GOARCH},
		"executable leads out": {func(t *testing.T, dir, blog string) {
			write(t, filepath.Join(dir, "program"), script, 0o755)
			link(t, filepath.Join(dir, "program"), filepath.Join(blog, "bin", "blog"))
		}, "outside", "leads out of"},
		"executable leads to another module": {func(t *testing.T, dir, blog string) {
			link(t, filepath.Join("..", "..", "hello", "bin", "hello"), filepath.Join(blog, "bin", "blog"))
		}, "outside", "leads out of"},
		"folder of the executable leads out": {func(t *testing.T, dir, blog string) {
			write(t, filepath.Join(dir, "programs", "blog"), script, 0o755)
			require.NoError(t, os.RemoveAll(filepath.Join(blog, "bin")))
			link(t, filepath.Join(dir, "programs"), filepath.Join(blog, "bin"))
		}, "outside", "leads out of"},
		"executable leads nowhere": {func(t *testing.T, dir, blog string) {
			link(t, filepath.Join(dir, "nowhere"), filepath.Join(blog, "bin", "blog"))
		}, "unreadable", "no such file"},
	}
}

func schemaDefects() map[string]defect {
	return map[string]defect{
		"no config schema": {configured("", nil), "bad_config_schema", "no such file"},
		"config schema is a FIFO": {configured("", func(path string) error { return syscall.Mkfifo(path, 0o600) }),
			"bad_config_schema", "not a regular file"},
		"config schema leads out": {configured("", func(path string) error { return os.Symlink("/dev/null", path) }),
			"bad_config_schema", "leads out of"},
		"config schema is not JSON":        {configured("{", nil), "bad_config_schema", "it is not JSON"},
		"config schema is no schema":       {configured(`{"type": 5}`, nil), "bad_config_schema", "it is not a JSON Schema"},
		"config schema with a bad pattern": {configured(`{"pattern": "("}`, nil), "bad_config_schema", "it is not a JSON Schema"},
		"no event schema":                  {published("", nil), "bad_event_schema", "modules/blog/events/a.json: "},
		"event schema is no JSON":          {published("{", nil), "bad_event_schema", "it is not JSON"},
		"event schema is none":             {published(`{"type": 5}`, nil), "bad_event_schema", "it is not a JSON Schema"},
		"event schema leads out": {published("", func(path string) error { return os.Symlink("/dev/null", path) }),
			"bad_event_schema", "leads out of"},
		"event schema refers to itself": {published(`{"$ref": "#"}`, nil), "bad_event_schema", "itself"},
		"config schema is too large": {configured(`{"title": "`+strings.Repeat("x", 256<<10)+`"}`, nil),
			"bad_config_schema", "larger than 256 KiB"},
	}
}

// A module that is refused leaves the others alone.
func TestRefused(t *testing.T) {
	t.Parallel()
	defects := manifestDefects()
	maps.Copy(defects, executableDefects())
	maps.Copy(defects, schemaDefects())
	for name, c := range defects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			modules := filepath.Join(dir, "modules")
			install(t, modules, "hello 0.1.0", "")
			c.spoil(t, dir, install(t, modules, "blog 0.3.0", ""))
			got := scan(t, modules)
			require.Len(t, got.Problems, 1)
			require.Equal(t, filepath.Join(modules, "blog"), got.Problems[0].Dir)
			require.Equal(t, c.code, code(t, got.Problems[0].Err), "%v", got.Problems[0].Err)
			require.ErrorContains(t, got.Problems[0].Err, c.text)
			require.ErrorContains(t, got.Problems[0].Err, "\nfix: ")
			require.Equal(t, [][]string{{"hello"}}, names(got.Levels()), "the others must not be touched")
		})
	}
}

// configured gives the module a config schema: text, or else what make puts there.
func configured(text string, make func(path string) error) func(t *testing.T, dir, blog string) {
	return func(t *testing.T, _, blog string) {
		write(t, filepath.Join(blog, "module.yaml"), manifestText("blog", "0.3.0", "config: {schema: c.json}\n"), 0o644)
		if text != "" {
			write(t, filepath.Join(blog, "c.json"), text, 0o644)
		} else if make != nil {
			require.NoError(t, make(filepath.Join(blog, "c.json")))
		}
	}
}

// published gives the module an event with a schema: text, or else what make puts there.
func published(text string, make func(path string) error) func(t *testing.T, dir, blog string) {
	return func(t *testing.T, _, blog string) {
		events := "events: {publishes: [{type: blog.a, version: 1}, {type: blog.a, version: 2, schema: events/a.json}]}\n"
		write(t, filepath.Join(blog, "module.yaml"), manifestText("blog", "0.3.0", events), 0o644)
		require.NoError(t, os.Mkdir(filepath.Join(blog, "events"), 0o755))
		if text != "" {
			write(t, filepath.Join(blog, "events", "a.json"), text, 0o644)
		} else if make != nil {
			require.NoError(t, make(filepath.Join(blog, "events", "a.json")))
		}
	}
}

func replace(t *testing.T, path string, make func(path string) error) {
	t.Helper()
	require.NoError(t, os.Remove(path))
	require.NoError(t, make(path))
}

func link(t *testing.T, target, path string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.Symlink(target, path))
}

// code returns the code of the first error of ours in err.
func code(t *testing.T, err error) string {
	t.Helper()
	var ours *Error
	if errors.As(err, &ours) {
		return ours.Code
	}
	var theirs *manifest.Error
	require.ErrorAs(t, err, &theirs)
	return theirs.Code
}

func TestForeignExecutables(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	f, err := os.Open(self)
	require.NoError(t, err)
	defer f.Close()
	require.Empty(t, foreign(f, runtime.GOOS, runtime.GOARCH), "this very program runs here")

	header := func(data byte, machine string) *strings.Reader {
		return strings.NewReader("\x7fELF\x02" + string([]byte{data}) + "\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + machine)
	}
	const little, big = 1, 2
	require.Empty(t, foreign(header(little, "\xb7\x00"), "linux", "arm64"))
	require.Equal(t, "made for EM_AARCH64", foreign(header(little, "\xb7\x00"), "linux", "amd64"))
	require.Empty(t, foreign(header(big, "\x00\x16"), "linux", "s390x"))
	require.Equal(t, "made for EM_S390", foreign(header(big, "\x00\x16"), "linux", "amd64"))
	require.Empty(t, foreign(strings.NewReader(script), "linux", "amd64"))
	require.NotEmpty(t, foreign(strings.NewReader("\x7fELF"), "linux", "amd64"))
	require.NotEmpty(t, foreign(strings.NewReader("MZ"+strings.Repeat(" ", 100)), "linux", "amd64"))
	require.Empty(t, foreign(strings.NewReader("\xcf\xfa\xed\xfe"), "darwin", "arm64"), "elsewhere nobody can tell")
	require.Empty(t, foreign(header(little, "\x08\x00"), "linux", "mips64"), "of an unknown machine nobody can tell")
}
