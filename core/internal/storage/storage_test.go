package storage_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

func open(t *testing.T, dir string) *storage.Storage {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Options{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestOpenCreatesAPrivateFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "core.db"): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), path)
	}
	var synchronous int
	require.NoError(t, s.Core().Raw("PRAGMA synchronous").Scan(&synchronous).Error)
	require.Equal(t, 2, synchronous, "FULL: tokens survive a power failure")
}

func TestOpenReportsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := storage.Open(t.Context(), storage.Options{DataDir: file})
	require.ErrorContains(t, err, file)
	require.ErrorContains(t, err, "fix: ")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = storage.Open(ctx, storage.Options{DataDir: dir})
	require.ErrorIs(t, err, context.Canceled)
}

func TestModuleHasItsOwnFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := open(t, "data")
	require.Equal(t, storage.Database{
		Driver: "sqlite", Source: filepath.Join(dir, "data", "modules", "blog", "blog.db"), TablePrefix: "blog_", Ledger: ledger.Table,
	}, s.Module("blog"), "absolute, whatever data.dir says: the module works in another folder")
	require.NoDirExists(t, filepath.Join(dir, "data", "modules"))
}

// moduleFile opens a module's file as the module does.
func moduleFile(t *testing.T, s *storage.Storage, name string) *gorm.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), s.Module(name).Source, sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sqlite.Close(db)) })
	return db
}

func TestLedger(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	applied, err := s.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	require.Empty(t, applied)
	require.NoDirExists(t, filepath.Dir(s.Module("blog").Source), "reading creates nothing")

	db := moduleFile(t, s, "blog")
	applied, err = s.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	require.Empty(t, applied, "a database without a ledger")

	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	require.NoError(t, ledger.Ensure(db, ledger.Table))
	first := ledger.Row{Position: 1, ID: "0001", AppliedAt: at, Statements: []string{}}
	second := ledger.Row{Position: 2, ID: "0002", AppliedAt: at.Add(time.Second), Statements: []string{}}
	require.NoError(t, db.Table(ledger.Table).Create(&second).Error)
	require.NoError(t, db.Table(ledger.Table).Create(&first).Error)
	applied, err = s.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	first.Statements, second.Statements = nil, nil
	require.Equal(t, []ledger.Row{first, second}, applied)
}

func TestLedgerOfAFileThatIsNone(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	file := s.Module("blog").Source
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, make([]byte, 4096), 0o600))
	_, err := s.Ledger(t.Context(), "blog")
	require.ErrorIs(t, err, sqlite.ErrNotDatabase)
}

// A link could lead the core, which may read more, to what the module may not.
func TestLedgerFollowsNoLink(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	file := s.Module("evil").Source
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "other.db"), file))
	_, err := s.Ledger(t.Context(), "evil")
	require.ErrorContains(t, err, "is not a regular file (fix:")
}

// A view under the ledger's name could keep the core busy for ever; it is not a table, and so not a ledger.
func TestLedgerIsATable(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	require.NoError(t, moduleFile(t, s, "evil").Exec("CREATE VIEW platformd_migrations AS "+
		"WITH RECURSIVE n(position) AS (SELECT 1 UNION ALL SELECT position + 1 FROM n) SELECT position, 'x' AS id FROM n").Error)
	applied, err := s.Ledger(t.Context(), "evil")
	require.NoError(t, err)
	require.Empty(t, applied)
}

// step makes a table, and counts how often it ran.
func step(id string, runs *int) storage.CoreStep {
	return storage.CoreStep{ID: id, Up: func(tx *gorm.DB) error {
		*runs++
		return tx.Exec("CREATE TABLE t_" + id + " (n integer)").Error
	}}
}

func TestMigrateCoreRunsEachStepOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var first, second, other int
	for _, steps := range [][]storage.CoreStep{ // one start of the core after the other
		{step("0001", &first)},
		{step("0001", &first)},
		{step("0001", &first), step("0002", &second)},
		{step("0001", &first), step("0002", &second)},
	} {
		s, err := storage.Open(t.Context(), storage.Options{DataDir: dir})
		require.NoError(t, err)
		require.NoError(t, storage.MigrateCore(s.Core(), "auth", steps...))
		require.NoError(t, storage.MigrateCore(s.Core(), "audit", step("0003", &other)))
		require.NoError(t, s.Close())
	}
	require.Equal(t, []int{1, 1, 1}, []int{first, second, other})
}

func TestMigrateCoreRefusesANewerDatabase(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var runs int
	require.NoError(t, storage.MigrateCore(s.Core(), "auth", step("0001", &runs), step("0002", &runs)))
	err := storage.MigrateCore(s.Core(), "auth", step("0001", &runs))
	var missing *ledger.MissingError
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "auth")
	require.Equal(t, 2, runs)
}

func TestMigrateCoreIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var runs int
	cause := errors.New("cause")
	broken := storage.CoreStep{ID: "0002", Up: func(*gorm.DB) error { return cause }}
	require.ErrorIs(t, storage.MigrateCore(s.Core(), "auth", step("0001", &runs), broken), cause)
	require.False(t, s.Core().Migrator().HasTable("t_0001"))
	require.NoError(t, storage.MigrateCore(s.Core(), "auth", step("0001", &runs), step("0002", &runs)))
	require.Equal(t, 3, runs)
}

func TestMigrateCoreAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all sync.WaitGroup
	var runs int // guarded by the database's own write lock
	errs := make([]error, 8)
	for i := range errs {
		s := open(t, dir)
		all.Go(func() { errs[i] = storage.MigrateCore(s.Core(), "auth", step("0001", &runs)) })
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, 1, runs)
}
