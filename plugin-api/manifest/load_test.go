package manifest_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestLoadRefusesWhatIsNotAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	for path, code := range map[string]string{fifo: "not_a_file", dir: "not_a_file", "/dev/zero": "not_a_file",
		filepath.Join(dir, "absent"): "unreadable"} {
		done := make(chan error, 1)
		go func() {
			_, err := manifest.Load(path)
			done <- err
		}()
		select {
		case err := <-done:
			errs := errorsOf(t, err)
			require.Equal(t, code, errs[0].Code)
			require.True(t, strings.HasPrefix(err.Error(), path+": "), err)
		case <-time.After(5 * time.Second):
			t.Fatalf("Load(%s) hangs", path)
		}
	}
}

func TestLoadKeepsTheCause(t *testing.T) {
	t.Parallel()
	_, err := manifest.Load(filepath.Join(t.TempDir(), "module.yaml"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestLoadReadsNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "module.yaml")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<40)) // sparse: reading it whole would exhaust memory
	require.NoError(t, f.Close())
	_, err = manifest.Load(path)
	require.Equal(t, "too_large", errorsOf(t, err)[0].Code)
}

// Deep and wide input must be refused in time that grows with its size, not with its square.
func TestBombsEndSoon(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"[", "{", "a: {", "- ", "? ", "&a [", "!!map {", "'", "|\n ", "\n#", "{a,"} {
		begun := time.Now()
		_, err := manifest.Parse("module.yaml", []byte(strings.Repeat(unit, manifest.MaxSize/len(unit))))
		require.Error(t, err)
		require.Less(t, time.Since(begun), 30*time.Second, "%q", unit)
	}
}

func TestManyOfEverythingIsSoonChecked(t *testing.T) {
	t.Parallel()
	many := func(format string, size int) string {
		var b strings.Builder
		for i := 0; b.Len() < manifest.MaxSize-size; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"aliases":     head + "runtime:\n  env:\n" + many("  - *a%d\n", 1<<10),
		"anchors":     head + "runtime:\n  env:\n" + many("  - &a%d\n", 1<<10),
		"keys":        head + many("k%d: 1\n", 1<<10),
		"env":         head + "runtime:\n  env: [TZ" + many(",e%x", 1<<10) + "]\n",
		"roles":       head + "permissions:\n  - {name: blog.a.b, description: c, roles: [r" + many(",r%x", 1<<10) + "]}\n",
		"permissions": head + "permissions:\n" + many("  - {name: blog.a.b%x, description: c}\n", 1<<10),
		"needs":       route("id: a, method: GET, path: /, access: public, needs: [a" + many(",n%x", 1<<10) + "]"),
		"routes":      head + "routes:\n" + many("  - {id: r%x, method: GET, path: \"/{a}/{b}/c%[1]x\", access: public}\n", 1<<10),
		"publishes":   head + "events:\n  publishes:\n" + many("    - {type: blog.a%x, version: 1}\n", 1<<10),
		"subscribes":  head + "events:\n  subscribes:\n" + many("    - {type: blog.a%x}\n", 1<<10),
		"segments":    route("id: a, method: GET, access: public, path: " + many("/%x", 1<<10)),
		"parameters":  route("id: a, method: GET, access: public, path: \"" + many("/{p%x}", 1<<10) + "\""),
	} {
		begun := time.Now()
		_, err := manifest.Parse("module.yaml", []byte(text))
		require.NotContains(t, fmt.Sprint(err), "larger than", name)
		require.Less(t, time.Since(begun), 30*time.Second, name)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range badCases() {
		if len(c.text) < 4<<10 {
			f.Add([]byte(c.text))
		}
	}
	for _, name := range []string{"blog.yaml", "hello.yaml", "design.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(data)
	}
	schema := resolvedSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Parse("module.yaml", data)
		if err != nil {
			for _, one := range errorsOf(t, err) {
				require.Positive(t, one.Line)
				require.NotEmpty(t, one.Code)
				require.NotEmpty(t, one.Fix)
			}
			return
		}
		require.NoError(t, m.Validate())
		require.NoError(t, schema.Validate(generic(t, data)), "the schema refuses what Parse accepts")
		again, err := manifest.Parse("module.yaml", encode(t, m))
		require.NoError(t, err)
		require.True(t, reflect.DeepEqual(m, again), "%+v\n%+v", m, again)
	})
}
