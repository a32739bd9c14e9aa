package store

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/archive"
)

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	install(t, s, "blog", "1.0.0")
	install(t, s, "blog", "1.1.0")
	before := tree(t, dir)
	refuses := func(want string, c Change) {
		t.Helper()
		require.Equal(t, want, code(t, s.Check(t.Context(), c)))
		_, err := s.Begin(t.Context(), c)
		require.Equal(t, want, code(t, err))
		if c.Staged != nil {
			require.NoError(t, c.Staged.Discard())
		}
		require.Equal(t, before, tree(t, dir))
	}
	changed := func(version string) *Staged {
		files := append(sources("blog", version), archive.Source{Name: "NOTICE", Content: []byte("Other.\n")})
		g, err := s.Stage(t.Context(), packed(t, files), platform)
		require.NoError(t, err)
		return g
	}
	refuses("older_version", Change{To: entry("1.0.0"), Staged: staged(t, s, "blog", "1.0.0")})
	refuses("older_version", Change{To: entry("1.1.0-rc.1"), Staged: staged(t, s, "blog", "1.1.0-rc.1")})
	refuses("other_contents", Change{To: entry("1.1.0"), Staged: changed("1.1.0")})
	refuses("other_contents", Change{To: entry("1.0.0"), Staged: changed("1.0.0"), AllowOlder: true})
	refuses("already_installed", Change{To: entry("1.1.0"), Staged: staged(t, s, "blog", "1.1.0")})
	refuses("not_installed", Change{Module: "nobody"})
	refuses("not_installed", Change{Module: "nobody", To: entry("1.0.0")})
	refuses("not_installed", Change{Module: "blog", To: filled("0.1.0")})

	for _, c := range []Change{
		{Module: "blog", Staged: staged(t, s, "blog", "2.0.0")},
		{Module: "blog", To: filled("1.0.0"), Purge: true},
		{Module: "blog", To: entry("1.0.0")}, // without checksums
	} {
		_, err := s.Begin(t.Context(), c)
		require.Error(t, err)
		if c.Staged != nil {
			require.NoError(t, c.Staged.Discard())
		}
	}
	require.Equal(t, before, tree(t, dir))
}

func filled(version string) *Entry {
	e := entry(version)
	e.SHA256, e.Contents = strings.Repeat("0", 64), strings.Repeat("0", 64)
	return e
}

func TestWhatIsAllowed(t *testing.T) {
	t.Parallel()
	s := opened(t, dataDir(t))
	install(t, s, "blog", "1.1.0")
	g := staged(t, s, "blog", "1.0.0")
	tx := begun(t, s, Change{To: entry("1.0.0"), Staged: g, AllowOlder: true})
	require.NoError(t, tx.Commit())
	require.Equal(t, "1.1.0", s.Entries()["blog"].Previous.Version)

	inode := func() uint64 {
		info, err := os.Stat(s.Dir("blog", "1.0.0"))
		require.NoError(t, err)
		stat, ok := info.Sys().(*syscall.Stat_t)
		require.True(t, ok)
		return stat.Ino
	}
	was, unsigned := inode(), entry("1.0.0")
	unsigned.Signer = ""
	g = staged(t, s, "blog", "1.0.0")
	require.NoError(t, begun(t, s, Change{To: unsigned, Staged: g}).Commit())
	require.Equal(t, was, inode(), "modules that run from a sound version keep their folder")
	require.Empty(t, s.Entries()["blog"].Signer)
	require.Equal(t, "1.1.0", s.Entries()["blog"].Previous.Version)
	require.NoDirExists(t, g.Dir())
}

// TestWhatHasChanged spoils an installed version in every way, and repairs it by installing it again.
func TestWhatHasChanged(t *testing.T) {
	t.Parallel()
	spoil := map[string]struct {
		how  func(dir string) error
		says string
	}{
		"a file":         {overwrite("LICENSE"), "LICENSE has changed"},
		"checksums.txt":  {overwrite("checksums.txt"), "checksums.txt has changed"},
		"another file":   {overwrite("web/x"), "web/x does not belong"},
		"a missing file": {func(dir string) error { return os.Remove(filepath.Join(dir, "bin", "blog")) }, "bin/blog is missing"},
		"a missing list": {func(dir string) error { return os.Remove(filepath.Join(dir, "checksums.txt")) }, "checksums.txt"},
		"a folder":       {func(dir string) error { return os.Mkdir(filepath.Join(dir, "web", "x"), 0o755) }, "web/x/ does not belong"},
		"a link":         {func(dir string) error { return os.Symlink("LICENSE", filepath.Join(dir, "link")) }, "link is neither"},
		"a pipe":         {func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600) }, "pipe is neither"},
		"open to all":    {func(dir string) error { return os.Chmod(filepath.Join(dir, "LICENSE"), 0o666) }, "others than its owner"},
		"all of it":      {removeTree, "no such file"},
	}
	for name, how := range spoil {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			s := opened(t, dir)
			install(t, s, "blog", "1.0.0")
			sound(t, s)
			before, version := tree(t, dir), s.Dir("blog", "1.0.0")
			for _, path := range []string{".", "bin", "web", "LICENSE", "checksums.txt"} { // as who is not root must
				require.NoError(t, os.Chmod(filepath.Join(version, path), 0o755))
			}
			require.NoError(t, how.how(version))
			err := s.Verify(t.Context(), "blog", s.Entries()["blog"])
			require.Equal(t, "store_spoilt", code(t, err))
			require.ErrorContains(t, err, how.says)
			_, err = s.Begin(t.Context(), Change{Module: "blog", To: entryOf(s)})
			require.Equal(t, "store_spoilt", code(t, err))

			install(t, s, "blog", "1.0.0")
			require.Equal(t, before, tree(t, dir))
			sound(t, s)
		})
	}
}

func overwrite(name string) func(dir string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("Pay.\n"), 0o600) }
}

func entryOf(s *Store) *Entry {
	e := s.Entries()["blog"]
	return &e
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := opened(t, dataDir(t))
	install(t, s, "blog", "1.0.0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Verify(ctx, "blog", *entryOf(s)), context.Canceled)
}

func TestOthersMustNotWrite(t *testing.T) {
	t.Parallel()
	for _, open := range []string{"store", "store/blog", "store/blog/1.0.0"} {
		dir := dataDir(t)
		install(t, opened(t, dir), "blog", "1.0.0")
		require.NoError(t, os.Chmod(filepath.Join(dir, open), 0o775))
		_, err := Open(dir)
		require.Equal(t, "store_not_private", code(t, err), open)
	}
	dir := dataDir(t)
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, "store")))
	_, err := Open(dir)
	require.Equal(t, "store_not_private", code(t, err), "a link to elsewhere")
}

func TestSpoiltFiles(t *testing.T) {
	t.Parallel()
	template := dataDir(t)
	install(t, opened(t, template), "blog", "1.0.0")
	install(t, opened(t, template), "blog", "1.1.0")
	lock, err := os.ReadFile(filepath.Join(template, lockName))
	require.NoError(t, err)
	for name, edit := range map[string]func(text string) string{
		"empty":          func(string) string { return "" },
		"no JSON":        func(string) string { return "modules:\n" },
		"no modules":     func(string) string { return "{}" },
		"an unknown key": func(text string) string { return strings.Replace(text, `"grants"`, `"grant"`, 1) },
		"two contents":   func(text string) string { return text + text },
		"a bad name":     func(text string) string { return strings.Replace(text, `"blog"`, `"../blog"`, 1) },
		"a bad version":  func(text string) string { return strings.Replace(text, `"1.1.0"`, `"../1.0.0"`, 1) },
		"no version":     func(text string) string { return strings.Replace(text, `"1.1.0"`, `""`, 1) },
		"a bad checksum": func(text string) string { return strings.Replace(text, `"sha256": "`, `"sha256": "A`, 1) },
		"no time": func(text string) string {
			return regexp.MustCompile(`"2026-[^"]*"`).ReplaceAllString(text, `"0001-01-01T00:00:00Z"`)
		},
		"itself as before": func(text string) string { return strings.Replace(text, `"1.0.0"`, `"1.1.0"`, 1) },
	} {
		dir := copied(t, template)
		require.NoError(t, os.WriteFile(filepath.Join(dir, lockName), []byte(edit(string(lock))), 0o600))
		_, err := Open(dir)
		require.Error(t, err, name)
		require.Equal(t, "lock_spoilt", code(t, err), name)
	}
	dir := copied(t, template)
	require.NoError(t, os.Remove(filepath.Join(dir, lockName)))
	_, err = Open(dir)
	require.Equal(t, "lock_missing", code(t, err), "what is installed is not removed because nothing refers to it")
	dir = copied(t, template)
	for _, text := range []string{"", "{}", `{"module": "../x", "version": "1.0.0", "to": null}`,
		`{"module": "blog", "version": "1.0.0", "to": null, "staged": ".."}`} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "store", journalName), []byte(text), 0o600))
		_, err = Open(dir)
		require.Equal(t, "journal_spoilt", code(t, err), text)
	}
}
