package sqlite_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

var (
	readOnly = &sql.TxOptions{ReadOnly: true}
	longText = strings.Repeat("this is not a database\n", 100)
)

// What every driver of the platform must translate, by the ways that lead there.
func TestErrorsHaveNames(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run  func(db *gorm.DB) error
		want error
		says string
	}{
		"unique": {func(db *gorm.DB) error {
			return db.Create(&author{Email: "a@example.org"}).Error
		}, gorm.ErrDuplicatedKey, "authors.email"},
		"primary key": {func(db *gorm.DB) error {
			return db.Create(&author{ID: 1, Email: "b@example.org"}).Error
		}, gorm.ErrDuplicatedKey, "authors.id"},
		"unique in a batch": {func(db *gorm.DB) error {
			return db.Create([]author{{Email: "b@example.org"}, {Email: "b@example.org"}}).Error
		}, gorm.ErrDuplicatedKey, "authors.email"},
		"unique by update": {func(db *gorm.DB) error {
			return db.Model(&author{ID: 2}).Update("email", "a@example.org").Error
		}, gorm.ErrDuplicatedKey, "authors.email"},
		"unique in raw SQL": {func(db *gorm.DB) error {
			return db.Exec("INSERT INTO authors (email) VALUES ('a@example.org')").Error
		}, gorm.ErrDuplicatedKey, "authors.email"},
		"unique in a nested transaction": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&author{Email: "a@example.org"}).Error })
			})
		}, gorm.ErrDuplicatedKey, "authors.email"},
		"foreign key": {func(db *gorm.DB) error {
			return db.Create(&post{AuthorID: 99}).Error
		}, gorm.ErrForeignKeyViolated, "FOREIGN KEY"},
		"deferred foreign key, at commit": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Exec("PRAGMA defer_foreign_keys = on").Error, tx.Create(&post{AuthorID: 99}).Error)
			})
		}, gorm.ErrForeignKeyViolated, "FOREIGN KEY"},
		"check": {func(db *gorm.DB) error {
			return db.Create(&author{Email: "b@example.org", Age: -1}).Error
		}, gorm.ErrCheckConstraintViolated, "chk_authors_age"},
		"check in an association": {func(db *gorm.DB) error {
			return db.Create(&post{Author: author{Email: "b@example.org", Age: -1}}).Error
		}, gorm.ErrCheckConstraintViolated, "chk_authors_age"},
		"not found": {func(db *gorm.DB) error {
			return db.Take(&author{}, 99).Error
		}, gorm.ErrRecordNotFound, "record not found"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t, sqlite.Options{})
			require.NoError(t, db.Create([]author{{Email: "a@example.org"}, {Email: "z@example.org"}}).Error)
			err := test.run(db)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.says)
			require.Equal(t, 1, strings.Count(err.Error(), test.want.Error()), "named once: %v", err)
			require.NoError(t, db.Create(&author{Email: "after@example.org"}).Error, "the database still works")
		})
	}
}

func TestAFullDiskHasAName(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{})
	err := db.Connection(func(tx *gorm.DB) error { // the limit is the connection's
		if err := tx.Raw("PRAGMA max_page_count = 1").Scan(new(int)).Error; err != nil {
			return err
		}
		full := tx.Exec("CREATE TABLE big AS SELECT randomblob(100000)").Error
		return errors.Join(full, tx.Raw("PRAGMA max_page_count = 1000000").Scan(new(int)).Error)
	})
	require.ErrorIs(t, err, sqlite.ErrFull)
	require.ErrorContains(t, err, "fix: free some space")
	require.NoError(t, db.Create(&author{Email: "after@example.org"}).Error, "the database still works")
}

func TestOtherErrorsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	err := fresh(t, sqlite.Options{}).Exec("SELEKT 1").Error
	require.ErrorContains(t, err, "syntax error")
	for _, name := range []error{gorm.ErrDuplicatedKey, sqlite.ErrBusy, sqlite.ErrFull, sqlite.ErrNotDatabase} {
		require.NotErrorIs(t, err, name)
	}
}

func TestBusyAcrossProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	holder := open(t, path, sqlite.Options{}) // two pools know nothing of each other, as two processes
	tx := holder.Begin()
	require.NoError(t, tx.Error)
	defer tx.Rollback()

	other := open(t, path, sqlite.Options{LockWait: 50 * time.Millisecond})
	err := other.Exec("CREATE TABLE t (n integer)").Error
	require.ErrorIs(t, err, sqlite.ErrBusy)
	require.ErrorContains(t, err, "fix: ")
}

func TestForeignKeyCheckNamesTheRows(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{ForeignKeysOff: true})
	require.NoError(t, sqlite.CheckForeignKeys(db))
	require.NoError(t, db.Exec("INSERT INTO posts (id, author_id) VALUES (7, 99), (8, 99)").Error)

	err := sqlite.CheckForeignKeys(db)
	require.ErrorIs(t, err, gorm.ErrForeignKeyViolated)
	require.ErrorContains(t, err, "posts row 7 -> authors, posts row 8 -> authors")
	var detail *sqlite.ForeignKeyError
	require.ErrorAs(t, err, &detail)
	require.Len(t, detail.Violations, 2)
	require.EqualValues(t, 7, *detail.Violations[0].RowID)
}
