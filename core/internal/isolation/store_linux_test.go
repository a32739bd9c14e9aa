package isolation

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAProcessReadsItsOwnVersionOnly: of what is installed it reads and executes its own folder, and changes nothing.
func TestAProcessReadsItsOwnVersionOnly(t *testing.T) {
	t.Parallel()
	for level, change := range map[Level]func(*abilities){
		Full:     func(*abilities) {},
		Landlock: func(a *abilities) { a.users, a.flags, a.mounts, a.groups = userRange{}, 0, false, nil },
	} {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			s, dir := sandbox(t, change)
			if s.host.Level() != level {
				t.Skip("this machine reaches level " + s.host.Level().String() + " only: run the tests as root, on a newer kernel")
			}
			store := filepath.Join(dir, "store")
			own := install(t, store, "blog", "1.1.0")
			others := []string{install(t, store, "blog", "1.0.0"), install(t, store, "billing", "1.0.0")}
			spec := Spec{Dir: own, Runtime: filepath.Join(dir, "run", "1"), Data: filepath.Join(dir, "modules", "shell")}
			cell, _, out := startIn(t, s, spec, strings.NewReplacer("STORE", store, "OWN", own, "DATA", spec.Data,
				"OTHERS", strings.Join(others, " ")).Replace(`cd OWN && ./bin/tool && cat file
echo data > DATA/file && cat DATA/file
exec 2>/dev/null
ls STORE STORE/blog
for d in OTHERS; do ls $d; cat $d/file; $d/bin/tool; done
for d in OWN OTHERS; do
  (echo forged >> $d/file); (echo forged > $d/new); mkdir $d/folder; ln $d/file $d/again; ln -s /etc $d/link
  mv $d/file $d/other; mv $d/bin/tool DATA/tool; ln $d/bin/tool DATA/linked; mv DATA/file $d/moved
  rm -f $d/file $d/bin/tool; rmdir $d/bin
done
(echo forged > STORE/lock); mkdir STORE/evil STORE/blog/2.0.0; mv STORE/blog/1.0.0 STORE/blog/2.0.0
echo end; exit`))
			said, err := io.ReadAll(out)
			require.NoError(t, err)
			require.Equal(t, "tool\ncontent\ndata\nend\n", string(said))
			require.Equal(t, level, cell.Level)
			for _, version := range append(others, own) {
				requireInstalled(t, version)
			}
			for folder, want := range map[string][]string{
				store: {"billing", "blog"}, filepath.Join(store, "blog"): {"1.0.0", "1.1.0"}, spec.Data: {"file"},
			} {
				require.Equal(t, want, namesIn(t, folder))
			}
		})
	}
}

// install lays a version out as the store does: readable by all, writable by nobody, its parents to be passed only.
func install(t *testing.T, store, name, version string) string {
	t.Helper()
	dir := filepath.Join(store, name, version)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("content\n"), 0o444))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "tool"), []byte("#!/bin/sh\necho tool\n"), 0o555))
	for folder, mode := range map[string]os.FileMode{
		filepath.Join(dir, "bin"): 0o555, dir: 0o555, filepath.Dir(dir): 0o711, store: 0o711,
	} {
		require.NoError(t, os.Chmod(folder, mode))
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755); _ = os.Chmod(filepath.Join(dir, "bin"), 0o755) }) // so that it can be removed
	return dir
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func requireInstalled(t *testing.T, dir string) {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir))
		}
		return err
	}))
	require.Equal(t, []string{"/bin/tool", "/file"}, found)
	content, err := os.ReadFile(filepath.Join(dir, "file"))
	require.NoError(t, err)
	require.Equal(t, "content\n", string(content))
}
