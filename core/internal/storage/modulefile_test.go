package storage_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// A module that swaps its file for something else, at the worst of moments, gets the core to read nothing.
func TestAModuleFileThatIsSwapped(t *testing.T) {
	t.Parallel()
	swaps := map[string]struct {
		swap func(t *testing.T, file, core string)
		says string
	}{
		"nothing": {func(*testing.T, string, string) {}, ""},
		"a link to the core's": {func(t *testing.T, file, core string) {
			t.Helper()
			require.NoError(t, os.Symlink(core, file+".new"))
			require.NoError(t, os.Rename(file+".new", file))
		}, "another file took its place"},
		"another file": {func(t *testing.T, file, _ string) {
			t.Helper()
			db, err := sqlite.Open(t.Context(), file+".new", sqlite.Options{})
			require.NoError(t, err)
			require.NoError(t, sqlite.Close(db))
			require.NoError(t, os.Rename(file+".new", file))
		}, "another file took its place"},
		"a pipe": {func(t *testing.T, file, _ string) {
			t.Helper()
			require.NoError(t, syscall.Mkfifo(file+".new", 0o600))
			require.NoError(t, os.Rename(file+".new", file))
		}, "pipe"},
		"a folder that leads to the core's": {func(t *testing.T, file, core string) {
			t.Helper()
			folder := filepath.Dir(file)
			require.NoError(t, os.Rename(folder, folder+".old"))
			require.NoError(t, os.Mkdir(folder, 0o700))
			require.NoError(t, os.Symlink(core, file))
		}, "another file took its place"},
	}
	for name, test := range swaps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := open(t, dir)
			file := s.Module("evil").Source
			moduleFile(t, s, "evil")
			db, err := storage.OpenModuleFileWhile(t.Context(), file, sqlite.Options{ReadOnly: true},
				func() { test.swap(t, file, filepath.Join(dir, "core.db")) })
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			require.NoError(t, sqlite.Close(db))
		})
	}
}

func TestOpenModuleFile(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	file := s.Module("blog").Source
	_, err := storage.OpenModuleFile(t.Context(), file, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	own := moduleFile(t, s, "blog")
	require.NoError(t, own.Exec("CREATE TABLE t (n integer)").Error)
	db, err := storage.OpenModuleFile(t.Context(), file, nil)
	require.NoError(t, err)
	require.Error(t, db.Exec("INSERT INTO t VALUES (1)").Error, "it is for reading")
	require.NoError(t, own.Exec("INSERT INTO t VALUES (1)").Error, "and in nobody's way")
	var n int
	require.NoError(t, db.Raw("SELECT count(*) FROM t").Scan(&n).Error)
	require.Equal(t, 1, n)
	require.NoError(t, sqlite.Close(db))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = storage.OpenModuleFile(ctx, file, nil)
	require.ErrorIs(t, err, context.Canceled)
}
