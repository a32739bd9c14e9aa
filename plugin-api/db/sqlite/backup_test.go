package sqlite_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// A commit of another connection between two steps makes SQLite copy from the beginning again. The writer here commits at every
// step, so that a copy that is not kept at one commit never ends.
func TestBackupWhileWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, target := filepath.Join(dir, "a?.db"), filepath.Join(dir, "copy #1.db") // names that a URL would cut
	db, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, sqlite.Close(db)) }()
	other, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, sqlite.Close(other)) }()
	require.NoError(t, db.Exec("CREATE TABLE a (text TEXT)").Error)
	require.NoError(t, db.Exec("INSERT INTO a WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "+
		"SELECT ? FROM n", strings.Repeat("x", 4000)).Error)
	steps, full, pages := 0, false, int64(0)
	err = sqlite.Backup(t.Context(), db, target, func(done, total int64) {
		steps, full, pages = steps+1, done == total, total
		require.NoError(t, other.Exec("INSERT INTO a VALUES ('later')").Error)
		require.Less(t, steps, 100, "the copy begins again and again")
	})
	require.NoError(t, err)
	require.True(t, full)
	require.GreaterOrEqual(t, steps, 4)
	require.Greater(t, pages, int64(1000))
	info, err := os.Stat(target)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	backup, err := sqlite.Open(t.Context(), target, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, sqlite.Close(backup)) }()
	var n int
	require.NoError(t, backup.Raw("SELECT count(*) FROM a").Scan(&n).Error)
	require.Equal(t, 1000, n, "what was committed when it began")
	require.NoError(t, db.Exec("INSERT INTO a VALUES ('after')").Error, "the source is free again")
}

func TestBackupEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "a.db"), sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, sqlite.Close(db)) }()
	require.NoError(t, db.Exec("CREATE TABLE a (text TEXT)").Error)
	require.NoError(t, db.Exec("INSERT INTO a VALUES (zeroblob(8000000))").Error)

	ctx, cancel := context.WithCancel(t.Context())
	steps := 0
	err = sqlite.Backup(ctx, db, filepath.Join(dir, "cancelled.db"), func(int64, int64) { steps++; cancel() })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, steps)

	taken := filepath.Join(dir, "taken.db")
	require.NoError(t, os.WriteFile(taken, []byte("mine"), 0o600))
	require.ErrorIs(t, sqlite.Backup(t.Context(), db, taken, nil), fs.ErrExist)
	content, err := os.ReadFile(taken)
	require.NoError(t, err)
	require.Equal(t, "mine", string(content))

	var all sync.WaitGroup // every connection is given back
	for range 20 {
		all.Go(func() { require.NoError(t, db.Exec("INSERT INTO a VALUES ('x')").Error) })
	}
	all.Wait()
}
