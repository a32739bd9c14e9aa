package sqlite_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// Two pools on one file are what two processes are. Reading and then writing in one transaction loses nothing, and no
// transaction fails because another one was faster.
func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	pools := []*gorm.DB{open(t, path, sqlite.Options{}), open(t, path, sqlite.Options{})}
	require.NoError(t, pools[0].AutoMigrate(&author{}))
	require.NoError(t, pools[0].Create(&author{ID: 1, Email: "a@example.org"}).Error)

	const writers, each = 8, 25
	errs := make(chan error, writers*each)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for range each {
				errs <- increment(pools[i%len(pools)])
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	var got author
	require.NoError(t, pools[0].Take(&got, 1).Error)
	require.Equal(t, writers*each, got.Age)
}

func increment(db *gorm.DB) error {
	return db.Transaction(func(tx *gorm.DB) error {
		var a author
		if err := tx.Take(&a, 1).Error; err != nil {
			return err
		}
		return tx.Model(&a).Update("age", a.Age+1).Error
	})
}

func TestReadersDoNotWaitForTheWriter(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{})
	tx := db.Begin()
	require.NoError(t, tx.Create(&author{Email: "a@example.org"}).Error)
	defer tx.Rollback()
	for range 20 {
		var count int64
		require.NoError(t, db.Model(&author{}).Count(&count).Error)
		require.Zero(t, count, "what is not committed is not seen")
	}
	reading := db.Begin(readOnly)
	require.NoError(t, reading.Error)
	require.NoError(t, reading.Find(&[]author{}).Error)
	require.NoError(t, reading.Commit().Error)
}

func TestTheTurnComesBack(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	tests := map[string]func(t *testing.T, db *gorm.DB){
		"commit":   func(t *testing.T, db *gorm.DB) { require.NoError(t, db.Begin().Commit().Error) },
		"rollback": func(t *testing.T, db *gorm.DB) { require.NoError(t, db.Begin().Rollback().Error) },
		"error": func(t *testing.T, db *gorm.DB) {
			require.ErrorIs(t, db.Transaction(func(*gorm.DB) error { return cause }), cause)
		},
		"panic": func(t *testing.T, db *gorm.DB) {
			require.Panics(t, func() { _ = db.Transaction(func(*gorm.DB) error { panic(cause) }) })
		},
		"context ends": func(t *testing.T, db *gorm.DB) {
			ctx, cancel := context.WithCancel(t.Context())
			tx := db.WithContext(ctx).Begin()
			require.NoError(t, tx.Error)
			require.NoError(t, tx.Create(&author{Email: "lost@example.org"}).Error)
			cancel() // and nobody calls Rollback
		},
		"failed begin": func(t *testing.T, db *gorm.DB) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, db.WithContext(ctx).Begin().Error, context.Canceled)
		},
		"failed statement": func(t *testing.T, db *gorm.DB) { require.Error(t, db.Exec("SELEKT 1").Error) },
	}
	for name, use := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t, sqlite.Options{})
			use(t, db)
			require.NoError(t, db.Exec("INSERT INTO authors (email) VALUES ('a@example.org')").Error)
			require.NoError(t, db.Create(&author{Email: "b@example.org"}).Error)
			var count int64
			require.NoError(t, db.Model(&author{}).Count(&count).Error)
			require.EqualValues(t, 2, count)
		})
	}
}

func TestWaitingForOneself(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{LockWait: 50 * time.Millisecond})
	err := db.Transaction(func(*gorm.DB) error {
		return db.Create(&author{Email: "a@example.org"}).Error // the outer db instead of the transaction's
	})
	require.ErrorIs(t, err, sqlite.ErrBusy)
	require.ErrorContains(t, err, "must use the transaction's *gorm.DB")
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{LockWait: time.Hour})
	tx := db.Begin()
	require.NoError(t, tx.Error)
	defer tx.Rollback()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, db.WithContext(ctx).Create(&author{Email: "a@example.org"}).Error, context.DeadlineExceeded)
}

func TestTransactionReachesItsDatabase(t *testing.T) {
	t.Parallel()
	db := fresh(t, sqlite.Options{})
	outer, err := db.DB()
	require.NoError(t, err)
	tx := db.Begin()
	defer tx.Rollback()
	inner, err := tx.DB()
	require.NoError(t, err)
	require.Same(t, outer, inner)
}

func TestWithoutSync(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options                sqlite.Options
		synced, whenNotAwaited string
	}{
		"durable": {sqlite.Options{Durable: true}, "2", "1"},
		"alone":   {sqlite.Options{Durable: true, Alone: true}, "2", "2"},
		"default": {sqlite.Options{}, "1", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t, test.options)
			without := db.WithContext(sqlite.WithoutSync(t.Context()))
			for range 2 {
				require.NoError(t, without.Transaction(func(tx *gorm.DB) error {
					require.Equal(t, test.whenNotAwaited, pragma(t, tx, "synchronous"))
					return tx.Create(&author{Email: "a@example.org"}).Error
				}))
				require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
					require.Equal(t, test.synced, pragma(t, tx, "synchronous"))
					return tx.Where("email = ?", "a@example.org").Delete(&author{}).Error
				}))
			}
			require.NoError(t, sqlite.Close(db))
			require.Error(t, without.Begin().Error, "every connection is closed")
		})
	}
}
