package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// platform makes a data folder with data of the core and of two modules.
func platform(t *testing.T) Options {
	t.Helper()
	o := Options{DataDir: filepath.Join(t.TempDir(), "data"), Version: "1.2.3"}
	for _, file := range []string{
		storage.CoreFile(o.DataDir), storage.ModuleFile(o.DataDir, "blog"), storage.ModuleFile(o.DataDir, "billing"),
	} {
		db := open(t, file)
		require.NoError(t, db.Exec("CREATE TABLE a (n INTEGER)").Error)
		require.NoError(t, db.Exec("CREATE TABLE b (n INTEGER)").Error)
		write(t, db, 1)
		require.NoError(t, sqlite.Close(db))
	}
	return o
}

func open(t *testing.T, file string) *gorm.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	require.NoError(t, err)
	return db
}

// write adds a row to both tables, or to none.
func write(t *testing.T, db *gorm.DB, n int) {
	t.Helper()
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("INSERT INTO a VALUES (?)", n).Error; err != nil {
			return err
		}
		return tx.Exec("INSERT INTO b VALUES (?)", n).Error
	}))
}

// rows are those of both tables, which must be the same, and in order.
func rows(t *testing.T, file string) (a []int) {
	t.Helper()
	db := open(t, file)
	defer func() { require.NoError(t, sqlite.Close(db)) }()
	var b []int
	require.NoError(t, db.Raw("SELECT n FROM a ORDER BY rowid").Scan(&a).Error)
	require.NoError(t, db.Raw("SELECT n FROM b ORDER BY rowid").Scan(&b).Error)
	require.Equal(t, a, b, "a backup never holds half a transaction")
	return a
}

func backUp(t *testing.T, o Options) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup.tar")
	_, err := Create(t.Context(), o, file)
	require.NoError(t, err)
	return file
}

// tree is every file below a folder, with what is in it.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%x", sha256.Sum256(content))
		return err
	}))
	return all
}

func TestWhileOthersWrite(t *testing.T) {
	t.Parallel()
	o := platform(t)
	var progress []Progress
	o.Progress = func(p Progress) { progress = append(progress, p) }
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var last [3]int
	for i, file := range []string{
		storage.CoreFile(o.DataDir), storage.ModuleFile(o.DataDir, "blog"), storage.ModuleFile(o.DataDir, "billing"),
	} {
		db := open(t, file)
		writers.Go(func() {
			defer func() { _ = sqlite.Close(db) }()
			for n := 2; ctx.Err() == nil; n++ {
				write(t, db, n)
				last[i] = n
			}
		})
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	for range 5 {
		_, err := Create(t.Context(), o, file)
		require.NoError(t, err)
	}
	stop()
	writers.Wait()
	require.NotEmpty(t, progress)
	require.Equal(t, progress[len(progress)-1].Total, progress[len(progress)-1].Done)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	require.Len(t, tree(t, filepath.Dir(file)), 1, "nothing is left beside it")

	fresh := Options{DataDir: filepath.Join(t.TempDir(), "fresh")}
	report, err := Restore(t.Context(), fresh, file, false)
	require.NoError(t, err)
	require.Equal(t, []string{"billing", "blog"}, report.Modules)
	require.Empty(t, report.Aside)
	for i, restored := range []string{
		storage.CoreFile(fresh.DataDir), storage.ModuleFile(fresh.DataDir, "blog"), storage.ModuleFile(fresh.DataDir, "billing"),
	} {
		got := rows(t, restored)
		require.NotEmpty(t, got)
		require.LessOrEqual(t, len(got), last[i])
		for k, n := range got {
			require.Equal(t, k+1, n, "every transaction up to one moment")
		}
		info, err := os.Stat(restored)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	}
}

func TestProgressOfFilesThatGrow(t *testing.T) {
	t.Parallel()
	o := platform(t)
	var progress []Progress
	o.Progress = func(p Progress) { progress = append(progress, p) }
	o.at = func(stage string) {
		if stage == "copied "+coreFile {
			db := open(t, storage.ModuleFile(o.DataDir, "blog"))
			require.NoError(t, db.Exec("CREATE TABLE more AS SELECT zeroblob(1000000)").Error)
			require.NoError(t, sqlite.Close(db))
		}
	}
	backUp(t, o)
	done := int64(0)
	for _, p := range progress {
		require.Equal(t, progress[0].Total, p.Total)
		require.LessOrEqual(t, done, p.Done)
		done = p.Done
	}
	require.Equal(t, progress[0].Total, done)
}

func TestReplaceLosesNothing(t *testing.T) {
	t.Parallel()
	o := platform(t)
	file := backUp(t, o)
	db := open(t, storage.ModuleFile(o.DataDir, "blog"))
	write(t, db, 2)
	require.NoError(t, sqlite.Close(db))
	later := open(t, storage.ModuleFile(o.DataDir, "later"))
	require.NoError(t, sqlite.Close(later))
	other := filepath.Join(o.DataDir, "modules", "blog", "picture.png")
	require.NoError(t, os.WriteFile(other, nil, 0o600))

	before := tree(t, o.DataDir)
	_, err := Restore(t.Context(), o, file, false)
	require.ErrorContains(t, err, "--replace")
	require.Equal(t, before, tree(t, o.DataDir))

	report, err := Restore(t.Context(), o, file, true)
	require.NoError(t, err)
	require.Equal(t, []int{1}, rows(t, storage.ModuleFile(o.DataDir, "blog")))
	require.Equal(t, []int{1, 2}, rows(t, storage.ModuleFile(report.Aside, "blog")))
	require.NoFileExists(t, storage.ModuleFile(o.DataDir, "later"))
	require.FileExists(t, storage.ModuleFile(report.Aside, "later"))
	require.FileExists(t, other)
	require.NoFileExists(t, storage.RestoreMark(o.DataDir))
	require.NoDirExists(t, filepath.Join(o.DataDir, "restoring"))
}

// A module owns its folder, and must not have the core read what it may not read itself.
func TestNoLinkIsFollowed(t *testing.T) {
	t.Parallel()
	o := platform(t)
	blog := storage.ModuleFile(o.DataDir, "blog")
	require.NoError(t, os.Remove(blog))
	require.NoError(t, os.Symlink(storage.CoreFile(o.DataDir), blog))
	file := filepath.Join(t.TempDir(), "backup.tar")
	require.NoError(t, os.WriteFile(file, []byte("an older backup"), 0o600))
	_, err := Create(t.Context(), o, file)
	require.ErrorContains(t, err, "not a regular file")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "an older backup", string(content))
	require.Len(t, tree(t, filepath.Dir(file)), 1)
}

func TestKilledWhileBackingUp(t *testing.T) {
	t.Parallel()
	o := platform(t)
	file := filepath.Join(t.TempDir(), "backup.tar")
	require.NoError(t, os.WriteFile(file, []byte("an older backup"), 0o600))
	for _, stage := range []string{"copied core.db", "copied modules/blog/blog.db", "staged", "written"} {
		doomed{DataDir: o.DataDir, File: file, Stage: stage}.run(t)
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "an older backup", string(content), stage)
		require.FileExists(t, file+".partial")
	}
	_, err := Create(t.Context(), o, file)
	require.NoError(t, err)
	require.Len(t, tree(t, filepath.Dir(file)), 1, "what the killed ones left is gone")
	_, err = Restore(t.Context(), o, file, true)
	require.NoError(t, err)
}

func TestKilledWhileRestoring(t *testing.T) {
	t.Parallel()
	file := backUp(t, platform(t))
	for _, c := range []struct {
		stage  string
		placed bool // files were being moved
	}{
		{"checked", false}, {"marked", true}, {"moved core.db", true}, {"moved modules/blog/blog.db", true},
	} {
		t.Run(c.stage, func(t *testing.T) {
			t.Parallel()
			o := platform(t)
			db := open(t, storage.ModuleFile(o.DataDir, "blog"))
			write(t, db, 2)
			require.NoError(t, sqlite.Close(db))
			doomed{DataDir: o.DataDir, File: file, Restore: true, Stage: c.stage}.run(t)
			store, err := storage.Open(t.Context(), storage.Options{DataDir: o.DataDir})
			if !c.placed {
				require.NoError(t, err)
				require.NoError(t, store.Close())
				require.Equal(t, []int{1, 2}, rows(t, storage.ModuleFile(o.DataDir, "blog")))
				return
			}
			require.ErrorContains(t, err, "interrupted while it put files into place; what was there before is in "+o.DataDir)
			require.Contains(t, allRows(t, o.DataDir), []int{1, 2}, "the old data is somewhere below")
			_, err = Restore(t.Context(), o, file, true)
			require.NoError(t, err)
			require.Equal(t, []int{1}, rows(t, storage.ModuleFile(o.DataDir, "blog")))
			require.Contains(t, allRows(t, o.DataDir), []int{1, 2})
			store, err = storage.Open(t.Context(), storage.Options{DataDir: o.DataDir})
			require.NoError(t, err)
			require.NoError(t, store.Close())
		})
	}
}

// allRows are those of every blog below a folder.
func allRows(t *testing.T, dir string) (all [][]int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "modules/blog/blog.db"))
	require.NoError(t, err)
	aside, err := filepath.Glob(filepath.Join(dir, "replaced-*/modules/blog/blog.db"))
	require.NoError(t, err)
	for _, file := range append(files, aside...) {
		all = append(all, rows(t, file))
	}
	return all
}

// What cannot be put into place is taken back.
func TestAFailedMoveIsTakenBack(t *testing.T) {
	t.Parallel()
	o := platform(t)
	file := backUp(t, o)
	before := tree(t, o.DataDir)
	o.at = func(stage string) {
		if stage == "moved core.db" {
			require.NoError(t, os.Remove(filepath.Join(o.DataDir, "restoring", "modules", "blog", "blog.db")))
		}
	}
	_, err := Restore(t.Context(), o, file, true)
	require.ErrorContains(t, err, "put the backup into place")
	require.Equal(t, before, tree(t, o.DataDir))
}

func TestTwoBackupsDoNotMix(t *testing.T) {
	t.Parallel()
	o := platform(t)
	file := filepath.Join(t.TempDir(), "backup.tar")
	inner := o
	o.at = func(stage string) {
		if stage == "staged" {
			_, err := Create(t.Context(), inner, file)
			require.ErrorContains(t, err, "another backup is being written")
		}
	}
	_, err := Create(t.Context(), o, file)
	require.NoError(t, err)
	_, err = Restore(t.Context(), Options{DataDir: t.TempDir()}, file, false)
	require.NoError(t, err)
}

func TestNoData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	_, err := Create(t.Context(), Options{DataDir: dir}, filepath.Join(t.TempDir(), "backup.tar"))
	require.ErrorContains(t, err, "there is no data in "+dir)
	require.NoDirExists(t, dir)
}

func TestACancelledBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	o := platform(t)
	ctx, cancel := context.WithCancel(t.Context())
	o.at = func(stage string) {
		if stage == "copied core.db" {
			cancel()
		}
	}
	file := filepath.Join(t.TempDir(), "backup.tar")
	_, err := Create(ctx, o, file)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, tree(t, filepath.Dir(file)))
}
