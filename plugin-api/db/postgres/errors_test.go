package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// What every driver of the platform must translate, by the ways that lead there; sqlite has the same list.
func TestErrorsHaveNames(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run  func(db *gorm.DB) error
		want error
		says string
	}{
		"unique": {func(db *gorm.DB) error {
			return db.Create(&author{Email: "a@example.org"}).Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email"},
		"primary key": {func(db *gorm.DB) error {
			return db.Create(&author{ID: 1, Email: "b@example.org"}).Error
		}, gorm.ErrDuplicatedKey, "authors_pkey"},
		"unique in a batch": {func(db *gorm.DB) error {
			return db.Create([]author{{Email: "b@example.org"}, {Email: "b@example.org"}}).Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email"},
		"unique by update": {func(db *gorm.DB) error {
			return db.Model(&author{ID: 2}).Update("email", "a@example.org").Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email"},
		"unique in raw SQL": {func(db *gorm.DB) error {
			return db.Exec("INSERT INTO authors (email) VALUES ('a@example.org')").Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email"},
		"unique in a nested transaction": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&author{Email: "a@example.org"}).Error })
			})
		}, gorm.ErrDuplicatedKey, "idx_authors_email"},
		"foreign key": {func(db *gorm.DB) error {
			return db.Create(&post{AuthorID: 99}).Error
		}, gorm.ErrForeignKeyViolated, "fk_posts_author"},
		"deferred foreign key, at commit": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Exec("ALTER TABLE posts ALTER CONSTRAINT fk_posts_author DEFERRABLE INITIALLY DEFERRED").Error,
					tx.Create(&post{AuthorID: 99}).Error)
			})
		}, gorm.ErrForeignKeyViolated, "fk_posts_author"},
		"check": {func(db *gorm.DB) error {
			return db.Create(&author{Email: "b@example.org", Age: -1}).Error
		}, gorm.ErrCheckConstraintViolated, "chk_authors_age"},
		"check in an association": {func(db *gorm.DB) error {
			return db.Create(&post{Author: author{Email: "b@example.org", Age: -1}}).Error
		}, gorm.ErrCheckConstraintViolated, "chk_authors_age"},
		"not found": {func(db *gorm.DB) error {
			return db.Take(&author{}, 99).Error
		}, gorm.ErrRecordNotFound, "record not found"},
		"read only": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Exec("SET TRANSACTION READ ONLY").Error, tx.Create(&author{Email: "b@example.org"}).Error)
			})
		}, postgres.ErrReadOnly, "cannot execute INSERT"},
		"full disk": {func(db *gorm.DB) error {
			return db.Exec("DO $$ BEGIN RAISE 'no space' USING ERRCODE = 'disk_full'; END $$").Error
		}, postgres.ErrFull, "fix: free some space"},
	}
	db, _ := fresh(t, postgres.Options{MaxConns: 4})
	require.NoError(t, db.Create([]author{{Email: "a@example.org"}, {Email: "z@example.org"}}).Error)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { // they share the database, which each must leave as it was
			err := test.run(db)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.says)
			require.LessOrEqual(t, strings.Count(err.Error(), test.want.Error()+": "), 1, "named once: %v", err)
			require.NoError(t, db.Exec("SELECT 1").Error, "the database still works")
		})
	}
}

func TestOtherErrorsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{})
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for says, err := range map[string]error{
		"syntax error":      db.Exec("SELEKT 1").Error,
		"statement timeout": db.Exec("SET statement_timeout = 50; SELECT pg_sleep(60)").Error,
		"deadline exceeded": db.WithContext(short).Exec("SELECT pg_sleep(60)").Error,
	} {
		require.ErrorContains(t, err, says)
		for _, name := range []error{
			gorm.ErrDuplicatedKey, postgres.ErrSerialization, postgres.ErrUnavailable, postgres.ErrFull, postgres.ErrDenied,
		} {
			require.NotErrorIs(t, err, name)
		}
	}
}

func TestTransactionsInEachOthersWay(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t, postgres.Options{MaxConns: 2})
	require.NoError(t, db.Create([]author{{ID: 1, Email: "a@example.org"}, {ID: 2, Email: "b@example.org"}}).Error)
	age := func(tx *gorm.DB, id uint) error {
		return tx.Model(&author{}).Where("id = ?", id).Update("age", gorm.Expr("age + 1")).Error
	}
	for name, isolation := range map[string]string{"one reads what the other wrote": "SERIALIZABLE", "deadlock": "READ COMMITTED"} {
		var txs [2]*gorm.DB
		for i := range txs {
			txs[i] = db.Begin()
			require.NoError(t, txs[i].Error)
			require.NoError(t, txs[i].Exec("SET TRANSACTION ISOLATION LEVEL "+isolation).Error)
			if isolation == "SERIALIZABLE" {
				require.NoError(t, txs[i].Find(&[]author{}).Error)
			}
			require.NoError(t, age(txs[i], uint(i+1)), name)
		}
		results := make(chan error, len(txs))
		for i, tx := range txs {
			go func() {
				var err error
				if isolation != "SERIALIZABLE" {
					err = age(tx, uint(2-i))
				}
				if err == nil {
					err = tx.Commit().Error
				} else {
					tx.Rollback()
				}
				results <- err
			}()
		}
		err := errors.Join(<-results, <-results)
		require.ErrorIs(t, err, postgres.ErrSerialization, name)
		require.ErrorContains(t, err, "fix: try again", name)
	}
}

func TestWhoHoldsATableForTooLongIsInTheWay(t *testing.T) {
	t.Parallel()
	db, source := fresh(t, postgres.Options{})
	tx := db.Begin()
	require.NoError(t, tx.Exec("LOCK TABLE posts").Error)
	defer tx.Rollback()
	other := open(t, source, postgres.Options{Settings: map[string]string{"lock_timeout": "50ms"}})
	require.ErrorIs(t, other.Create(&post{}).Error, postgres.ErrSerialization)
}

func TestWhyThereIsNoConnection(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	admin := open(t, source, postgres.Options{})
	role := roleIn(t, admin)
	as := func(user string) string { return changed(t, source, func(u *url.URL) { u.User = url.User(user) }) }
	require.NoError(t, admin.Exec("ALTER ROLE "+role+" CONNECTION LIMIT 1").Error)
	own := open(t, as(role), postgres.Options{})
	for name, test := range map[string]struct {
		source string
		want   error
	}{
		"nobody listens":  {changed(t, source, func(u *url.URL) { u.Host = "127.0.0.1:1" }), postgres.ErrUnavailable},
		"no such host":    {changed(t, source, func(u *url.URL) { u.Host = "nowhere.invalid" }), postgres.ErrUnavailable},
		"no such user":    {as("pdtest_nobody"), postgres.ErrCredentials},
		"no database":     {changed(t, source, func(u *url.URL) { u.Path = "/pdtest_nowhere" }), postgres.ErrNoDatabase},
		"too many of one": {as(role), postgres.ErrTooMany},
	} {
		_, err := postgres.Open(t.Context(), test.source, postgres.Options{})
		require.ErrorIs(t, err, test.want, name)
		require.Equal(t, 1, strings.Count(err.Error(), test.want.Error()), "%s: %v", name, err)
		require.ErrorContains(t, err, "fix: ", name)
	}
	require.ErrorIs(t, own.Exec("CREATE ROLE pdtest_other").Error, postgres.ErrDenied)
}

// roleIn makes a role that may log in, until the end of the test.
func roleIn(t *testing.T, admin *gorm.DB) string {
	t.Helper()
	var name string
	require.NoError(t, admin.Raw("SELECT current_database() || '_role'").Scan(&name).Error)
	require.NoError(t, admin.Exec("CREATE ROLE "+name+" LOGIN").Error)
	t.Cleanup(func() { require.NoError(t, admin.WithContext(context.Background()).Exec("DROP ROLE "+name).Error) })
	return name
}

func TestAConnectionThatEnds(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	admin := open(t, source, postgres.Options{})
	front := listen(t, source, nil)
	for name, end := range map[string]func(pid int) error{
		"by the server": func(pid int) error { return admin.Exec("SELECT pg_terminate_backend(?)", pid).Error },
		"on the way":    func(int) error { front.cut(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, front.source, postgres.Options{})
			var pid int
			tx := db.Begin()
			require.NoError(t, tx.Raw("SELECT pg_backend_pid()").Scan(&pid).Error)
			require.NoError(t, end(pid))
			require.ErrorIs(t, tx.Exec("SELECT 1").Error, postgres.ErrUnavailable)
			tx.Rollback()
			require.NoError(t, db.Exec("SELECT 1").Error, "the next one gets a new connection")
		})
	}
}

func TestAServerThatSaysNothing(t *testing.T) {
	t.Parallel()
	front := silent(t)
	begin := time.Now()
	_, err := postgres.Open(t.Context(), "postgres://ada@"+front+"/none?sslmode=disable&connect_timeout=1", postgres.Options{})
	require.ErrorIs(t, err, postgres.ErrUnavailable)
	require.Less(t, time.Since(begin), postgres.ConnectTimeout, "the URL's own limit counts")
	_, err = postgres.Open(t.Context(), "postgres://ada@"+front+"/none?sslmode=disable", postgres.Options{})
	require.ErrorIs(t, err, postgres.ErrUnavailable)
}
