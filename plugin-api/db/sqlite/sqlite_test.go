package sqlite_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

type author struct {
	ID    uint
	Email string `gorm:"uniqueIndex;not null"`
	Age   int    `gorm:"check:age >= 0"`
}

type post struct {
	ID        uint
	AuthorID  uint
	Author    author `gorm:"constraint:OnDelete:CASCADE"`
	Title     string
	CreatedAt time.Time
}

// open opens path and closes it when the test ends.
func open(t *testing.T, path string, o sqlite.Options) *gorm.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), path, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sqlite.Close(db)) })
	return db
}

// fresh opens a new file with the tables of author and post.
func fresh(t *testing.T, o sqlite.Options) *gorm.DB {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "test.db"), o)
	require.NoError(t, db.AutoMigrate(&author{}, &post{}))
	return db
}

func pragma(t *testing.T, db *gorm.DB, name string) string {
	t.Helper()
	var value string
	require.NoError(t, db.Raw("PRAGMA "+name).Scan(&value).Error)
	return value
}

func TestOpenAppliesTheSettings(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options sqlite.Options
		want    map[string]string
	}{
		"default":          {sqlite.Options{}, map[string]string{"synchronous": "1", "foreign_keys": "1", "busy_timeout": "5000"}},
		"durable":          {sqlite.Options{Durable: true}, map[string]string{"synchronous": "2", "foreign_keys": "1"}},
		"foreign keys off": {sqlite.Options{ForeignKeysOff: true}, map[string]string{"foreign_keys": "0"}},
		"lock wait":        {sqlite.Options{LockWait: time.Second}, map[string]string{"busy_timeout": "1000"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, filepath.Join(t.TempDir(), "a.db"), test.options)
			require.Equal(t, "wal", pragma(t, db, "journal_mode"))
			for setting, want := range test.want {
				require.Equal(t, want, pragma(t, db, setting), setting)
			}
		})
	}
}

func TestEveryConnectionHasTheSettings(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{})
	for range 3 { // held open together, so that they are three
		tx := db.Begin(readOnly)
		require.NoError(t, tx.Error)
		defer tx.Rollback()
		require.Equal(t, "1", pragma(t, tx, "foreign_keys"))
	}
}

func TestOpenCreatesPrivateFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data", "modules", "blog")
	path := filepath.Join(dir, "blog.db")
	db := open(t, path, sqlite.Options{})
	require.NoError(t, db.AutoMigrate(&author{}))
	for file, want := range map[string]fs.FileMode{
		filepath.Dir(dir): 0o700, dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
	} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), file)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3, "only the database, its -wal and its -shm")
}

func TestOpenKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	first, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.NoError(t, err)
	require.NoError(t, first.AutoMigrate(&author{}))
	require.NoError(t, first.Create(&author{Email: "a@example.org"}).Error)
	require.NoError(t, sqlite.Close(first))

	var count int64
	require.NoError(t, open(t, path, sqlite.Options{}).Model(&author{}).Count(&count).Error)
	require.EqualValues(t, 1, count)
}

func TestPathsWithSpecialCharacters(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"a b.db", "a?mode=memory.db", "a#b.db", "100%.db", "a%41.db", "a&b=c;d.db", "ünïcode.db", "a'\"b.db", ":memory:",
		"file:x.db", "a+b.db", "a\\b.db", "a\nb.db",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "in "+name)
			db := open(t, filepath.Join(dir, name), sqlite.Options{})
			require.NoError(t, db.AutoMigrate(&author{}))
			_, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, entries, 3, "the file, its -wal and -shm, under exactly this name")
		})
	}
}

func TestRelativePathStaysWhereItWas(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	db := open(t, "a.db", sqlite.Options{})
	t.Chdir(t.TempDir())
	tx := db.Begin(readOnly) // holds the connection there is, so that the next one is new
	require.NoError(t, tx.Error)
	defer tx.Rollback()
	require.NoError(t, db.AutoMigrate(&author{}))
	_, err := os.Stat(filepath.Join(dir, "a.db"))
	require.NoError(t, err)
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, path string){
		"text":   func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte(longText), 0o600)) },
		"folder": func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) },
		"pipe":   func(t *testing.T, path string) { require.NoError(t, syscall.Mkfifo(path, 0o600)) },
	}
	for name, occupy := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.db")
			occupy(t, path)
			for _, readOnly := range []bool{false, true} {
				_, err := sqlite.Open(t.Context(), path, sqlite.Options{ReadOnly: readOnly})
				require.ErrorIs(t, err, sqlite.ErrNotDatabase)
				require.ErrorContains(t, err, path)
				require.ErrorContains(t, err, "fix: ")
			}
		})
	}
}

func TestOpenRefusesBadPaths(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for path, want := range map[string]string{
		"":                            "the path is empty",
		"a\x00b.db":                   "zero byte",
		filepath.Join(file, "a.db"):   "not a directory",
		filepath.Join(file, "b", "c"): "not a directory",
	} {
		_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "fix: ")
	}
}

func TestOpenTakesAnEmptyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, open(t, path, sqlite.Options{}).AutoMigrate(&author{}))
}

func TestManyOpenANewFileAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "a.db")
	var all sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		all.Go(func() {
			db, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if err == nil {
				err = db.Exec("CREATE TABLE IF NOT EXISTS t (n integer)").Error
			}
			if err == nil {
				err = db.Exec("INSERT INTO t VALUES (?)", i).Error
			}
			if db != nil {
				_ = sqlite.Close(db)
			}
			errs[i] = err
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	var count int64
	require.NoError(t, open(t, path, sqlite.Options{}).Table("t").Count(&count).Error)
	require.EqualValues(t, len(errs), count)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{ReadOnly: true})
	require.ErrorIs(t, err, sqlite.ErrCannotOpen)
	require.NoFileExists(t, path)

	writer := open(t, path, sqlite.Options{})
	require.NoError(t, writer.AutoMigrate(&author{}))
	require.NoError(t, writer.Create(&author{Email: "a@example.org"}).Error)
	reader := open(t, path, sqlite.Options{ReadOnly: true})
	require.Equal(t, "0", pragma(t, reader, "trusted_schema"))
	var got author
	require.NoError(t, reader.Take(&got).Error)
	require.ErrorIs(t, reader.Create(&author{Email: "b@example.org"}).Error, sqlite.ErrReadOnly)
}

// A killed process leaves its last commits in the -wal file.
func TestReadOnlySeesAnUnfinishedLog(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), t.TempDir()
	db := open(t, filepath.Join(from, "a.db"), sqlite.Options{})
	require.NoError(t, db.AutoMigrate(&author{}))
	require.NoError(t, db.Create(&author{Email: "a@example.org"}).Error)
	for _, name := range []string{"a.db", "a.db-wal"} { // as they are while the writer is alive
		data, err := os.ReadFile(filepath.Join(from, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, name), data, 0o600))
	}
	var got author
	require.NoError(t, open(t, filepath.Join(to, "a.db"), sqlite.Options{ReadOnly: true}).Take(&got).Error)
	require.Equal(t, "a@example.org", got.Email)
}

func TestTimesAreUTCAndSortAsText(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{})
	require.NoError(t, db.Create(&author{ID: 1, Email: "a@example.org"}).Error)
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for i, at := range []time.Time{ // one moment after the other, each in another zone
		noon.In(time.FixedZone("", 2*3600)), noon.Add(time.Microsecond).In(time.FixedZone("", -7*3600)), noon.Add(time.Second),
	} {
		require.NoError(t, db.Create(&post{ID: uint(i + 1), AuthorID: 1, CreatedAt: at}).Error)
	}
	var posts []post
	require.NoError(t, db.Order("created_at").Find(&posts, "created_at >= ?", noon.Local()).Error)
	require.Len(t, posts, 3)
	for i, p := range posts {
		require.EqualValues(t, i+1, p.ID)
		require.Equal(t, time.UTC, p.CreatedAt.Location())
	}
	require.True(t, posts[1].CreatedAt.Equal(noon.Add(time.Microsecond)))

	made := post{AuthorID: 1}
	require.NoError(t, db.Create(&made).Error)
	var read post
	require.NoError(t, db.Take(&read, made.ID).Error)
	require.Equal(t, made.CreatedAt, read.CreatedAt, "a value reads back as it was written")
	require.Equal(t, made.CreatedAt.Truncate(time.Microsecond), made.CreatedAt)
}
