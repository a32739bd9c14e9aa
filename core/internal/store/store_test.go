package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/archive"
)

func TestInstallUpgradeRollbackUninstall(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	require.Empty(t, s.Entries())
	r, err := s.Recover()
	require.NoError(t, err)
	require.Nil(t, r)
	require.NoDirExists(t, dir, "to look changes nothing")

	g := staged(t, s, "blog", "1.0.0")
	require.Equal(t, "blog", filepath.Base(g.Dir()))
	require.Equal(t, "1.0.0", g.Package().Manifest.Version)
	alone, err := os.ReadDir(filepath.Dir(g.Dir()))
	require.NoError(t, err)
	require.Len(t, alone, 1, "its parent can be read as a folder of modules")
	tx := begun(t, s, Change{To: &Entry{Grants: []string{"b.b.b", "a.a.a", "b.b.b"}}, Staged: g})
	require.Empty(t, s.Entries())
	require.FileExists(t, filepath.Join(s.Dir("blog", "1.0.0"), "bin", "blog"))
	require.NoError(t, tx.Commit())
	require.NoError(t, tx.Abort(), "which is too late")
	require.Error(t, errors.Join(tx.Commit()))
	require.Error(t, errors.Join(tx.Point()))
	require.NoError(t, g.Discard(), "which is too late, too")
	first := s.Entries()["blog"]
	require.WithinDuration(t, time.Now(), first.Installed, time.Minute)
	require.Equal(t, []string{"a.a.a", "b.b.b"}, first.Grants)
	require.Equal(t, g.Package().SHA256, first.SHA256)
	require.Nil(t, first.Previous)

	install(t, s, "blog", "1.1.0")
	install(t, s, "blog", "1.2.0")
	require.NoDirExists(t, s.Dir("blog", "1.0.0"), "it is two versions old")
	e := s.Entries()["blog"]
	require.Equal(t, "1.2.0", e.Version)
	require.Equal(t, "1.1.0", e.Previous.Version)
	require.Nil(t, e.Previous.Previous)

	require.NoError(t, begun(t, s, Change{Module: "blog", To: e.Previous}).Commit())
	e = s.Entries()["blog"]
	require.Equal(t, "1.1.0", e.Version)
	require.Equal(t, "1.2.0", e.Previous.Version, "a rollback can be rolled back")
	sound(t, s)
	require.Equal(t, s.Entries(), opened(t, dir).Entries(), "all of it is written down")

	require.NoError(t, begun(t, s, Change{Module: "blog"}).Commit())
	require.Empty(t, tree(t, dir))
	require.Empty(t, opened(t, dir).Entries())
}

func TestWhatLiesWhere(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	install(t, s, "blog", "1.0.0")
	modes := map[string]string{}
	for path, is := range tree(t, dir) {
		modes[path], _, _ = strings.Cut(is, " ")
	}
	require.Equal(t, map[string]string{
		"platformd.lock":   "-rw-------",
		"store/blog":       "drwx--x--x",
		"store/blog/1.0.0": "dr-xr-xr-x", "store/blog/1.0.0/module.yaml": "-r--r--r--",
		"store/blog/1.0.0/LICENSE": "-r--r--r--", "store/blog/1.0.0/checksums.txt": "-r--r--r--",
		"store/blog/1.0.0/bin": "dr-xr-xr-x", "store/blog/1.0.0/bin/blog": "-r-xr-xr-x",
		"store/blog/1.0.0/web": "dr-xr-xr-x", "store/blog/1.0.0/web/pages": "dr-xr-xr-x",
		"store/blog/1.0.0/web/pages/index.html": "-r--r--r--",
	}, modes)
	info, err := os.Stat(filepath.Join(dir, "store"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o711), info.Mode().Perm())
}

func TestAbort(t *testing.T) {
	t.Parallel()
	for name, passed := range map[string]bool{"before the point": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			s := opened(t, dir)
			install(t, s, "blog", "1.0.0")
			before := tree(t, dir)
			g := staged(t, s, "blog", "1.1.0")
			tx := begun(t, s, Change{To: entry("1.1.0"), Staged: g})
			if passed {
				require.NoError(t, tx.Point())
			}
			require.NoError(t, tx.Abort())
			require.NoError(t, tx.Abort())
			require.NoError(t, g.Discard())
			require.Equal(t, before, tree(t, dir))
			install(t, s, "blog", "1.1.0")
		})
	}
}

// TestAbortOfAHalfCommit aborts when platformd.lock has been written, and the journal could not be removed.
func TestAbortOfAHalfCommit(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	install(t, s, "blog", "1.0.0")
	before := tree(t, dir)
	tx := begun(t, s, Change{To: entry("1.1.0"), Staged: staged(t, s, "blog", "1.1.0")})
	require.NoError(t, os.Rename(s.journalFile(), s.journalFile()+".kept"))
	require.NoError(t, os.MkdirAll(filepath.Join(s.journalFile(), "full"), 0o700))
	require.Equal(t, "store_unusable", code(t, tx.Commit()))
	require.NoError(t, os.RemoveAll(s.journalFile()))
	require.NoError(t, os.Rename(s.journalFile()+".kept", s.journalFile()))
	require.NoError(t, tx.Abort())
	require.Equal(t, before, tree(t, dir))
	require.Equal(t, "1.0.0", s.Entries()["blog"].Version)
}

func TestOneChangeAtATime(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	install(t, s, "billing", "1.0.0")
	results := make(chan error, 8)
	opens := make(chan *Tx, 8)
	for range cap(results) {
		g := staged(t, s, "blog", "1.0.0")
		go func() {
			tx, err := s.Begin(t.Context(), Change{To: entry("1.0.0"), Staged: g})
			opens <- tx
			results <- errors.Join(err, g.Discard())
		}()
	}
	var open *Tx
	for range cap(results) {
		if tx := <-opens; tx != nil {
			require.Nil(t, open)
			open = tx
		}
		if err := <-results; err != nil {
			require.Equal(t, "change_under_way", code(t, err))
		}
	}
	require.NotNil(t, open)
	require.Equal(t, "change_under_way", code(t, s.SetGrants("blog", nil, nil)))
	require.NoError(t, s.SetGrants("billing", []string{"a.a.a"}, nil), "another module's")
	_, err := s.Recover()
	require.Equal(t, "change_under_way", code(t, err), "it is no killed process's")
	require.Equal(t, "change_under_way", code(t, s.Purged()))
	require.NoError(t, open.Commit())
	require.Equal(t, []string{"a.a.a"}, s.Entries()["billing"].Grants)

	tx := begun(t, s, Change{Module: "blog"})
	other := opened(t, dir)
	_, err = other.Begin(t.Context(), Change{Module: "billing"})
	require.Equal(t, "change_under_way", code(t, err), "a killed process's, as it seems")
	require.NoError(t, tx.Abort())
}

// TestAnAbortTakesNothingBack begins and aborts while grants are changed, as an operator may do.
func TestAnAbortTakesNothingBack(t *testing.T) {
	t.Parallel()
	s := opened(t, dataDir(t))
	install(t, s, "blog", "1.0.0")
	install(t, s, "blog", "1.1.0")
	previous := s.Entries()["blog"].Previous
	changes := make(chan error, 1)
	go func() {
		var err error
		for range 40 {
			tx, refused := s.Begin(t.Context(), Change{Module: "blog", To: previous})
			if refused != nil {
				err = errors.Join(err, refused)
				continue
			}
			err = errors.Join(err, tx.Abort())
		}
		changes <- err
	}()
	for i := 0; len(changes) == 0; i++ {
		grants := []string{fmt.Sprintf("a.a.a%d", i)}
		if err := s.SetGrants("blog", grants, nil); err != nil {
			require.Equal(t, "change_under_way", code(t, err))
			continue
		}
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.under == nil
		}, 10*time.Second, time.Microsecond)
		require.Equal(t, grants, s.Entries()["blog"].Grants)
	}
	require.NoError(t, <-changes)
}

func TestGrants(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	require.Equal(t, "not_installed", code(t, s.SetGrants("blog", nil, nil)))
	install(t, s, "blog", "1.0.0")
	mine := []string{"b.b.b", "a.a.a"}
	require.NoError(t, s.SetGrants("blog", mine, []string{"c.c.c"}))
	mine[0] = "changed"
	got := s.Entries()["blog"]
	got.Grants[0] = "changed"
	for _, s := range []*Store{s, opened(t, dir)} {
		require.Equal(t, []string{"a.a.a", "b.b.b"}, s.Entries()["blog"].Grants)
		require.Equal(t, []string{"c.c.c"}, s.Entries()["blog"].Pending)
	}
}

func TestStrayFiles(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	install(t, opened(t, dir), "blog", "1.0.0")
	before := tree(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "store", "blog", ".DS_Store"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, lockName+next), []byte("{"), 0o600))
	r, err := opened(t, dir).Recover()
	require.NoError(t, err)
	require.Nil(t, r)
	require.Equal(t, before, tree(t, dir))
}

func TestStageOfABadPackage(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := opened(t, dir)
	_, err := s.Stage(t.Context(), strings.NewReader("no package"), platform)
	var refused *archive.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "not_a_package", refused.Code)
	_, err = s.Stage(t.Context(), packed(t, sources("blog", "1.0.0")), "linux/s390x")
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "platform_missing", refused.Code)
	_, err = s.Stage(t.Context(), packed(t, sources("blog", "1.0.0-"+strings.Repeat("a", maxVersion))), platform)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "bad_version", refused.Code)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Stage(ctx, packed(t, sources("blog", "1.0.0")), platform)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, tree(t, dir))
}
