package postgres_test

import (
	"bytes"
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
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

// open opens a database and closes it when the test ends.
func open(t *testing.T, source string, o postgres.Options) *gorm.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), source, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, postgres.Close(db)) })
	return db
}

// fresh makes a database with the tables of author and post, and returns its URL too.
func fresh(t *testing.T, o postgres.Options) (*gorm.DB, string) {
	t.Helper()
	source := dbtest.Empty(t)
	db := open(t, source, o)
	require.NoError(t, db.AutoMigrate(&author{}, &post{}))
	return db, source
}

// with sets a parameter of a URL.
func with(t *testing.T, source, name, value string) string {
	t.Helper()
	return changed(t, source, func(u *url.URL) {
		query := u.Query()
		query.Set(name, value)
		u.RawQuery = query.Encode()
	})
}

func changed(t *testing.T, source string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(source)
	require.NoError(t, err)
	change(u)
	return u.String()
}

func TestOpenAppliesTheSettings(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{Settings: map[string]string{"application_name": "a test", "search_path": "mine"}})
	for setting, want := range map[string]string{"application_name": "a test", "search_path": "mine", "TimeZone": "UTC"} {
		var value string
		require.NoError(t, db.Raw("SELECT current_setting(?)", setting).Scan(&value).Error)
		require.Equal(t, want, value, setting)
	}
}

func TestTimesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	db, source := fresh(t, postgres.Options{})
	made := db.NowFunc()
	require.Equal(t, made.Truncate(time.Microsecond), made)
	require.NoError(t, db.Create(&post{Author: author{Email: "a@example.org"}, CreatedAt: made}).Error)
	elsewhere := open(t, with(t, source, "timezone", "Asia/Kathmandu"), postgres.Options{}) // ours wins over the URL's
	for _, db := range []*gorm.DB{db, elsewhere} {
		var read post
		require.NoError(t, db.Take(&read).Error)
		require.Equal(t, made, read.CreatedAt, "to the microsecond, and in UTC")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{MaxConns: 2})
	for range 2 {
		tx := db.Begin()
		require.NoError(t, tx.Error)
		defer tx.Rollback()
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, db.WithContext(short).Exec("SELECT 1").Error, context.DeadlineExceeded, "who finds none free, waits")
	pool, err := db.DB()
	require.NoError(t, err)
	require.Equal(t, 2, pool.Stats().OpenConnections)
	require.EqualValues(t, 1, pool.Stats().WaitCount)
}

// A migration of another process changes a table that this one has prepared statements for.
func TestAPlanFromBeforeAChangeIsMadeAnew(t *testing.T) {
	t.Parallel()
	const conns = 3
	db, source := fresh(t, postgres.Options{MaxConns: conns})
	require.NoError(t, db.Create(&author{ID: 1, Email: "a@example.org"}).Error)
	held := make([]*gorm.DB, conns)
	for i := range held { // all at once, so that each connection has the plan
		held[i] = db.Begin()
		require.NoError(t, held[i].Find(&[]author{}).Error)
	}
	for _, tx := range held {
		require.NoError(t, tx.Commit().Error)
	}
	other := open(t, source, postgres.Options{})
	require.NoError(t, other.Exec("ALTER TABLE authors ADD COLUMN town text NOT NULL DEFAULT 'Ulm'").Error)

	var found []map[string]any
	require.NoError(t, db.Model(&author{}).Find(&found).Error)
	require.Equal(t, "Ulm", found[0]["town"])
	for i := range held {
		held[i] = db.Begin()
		require.NoError(t, held[i].Error)
		if err := held[i].Find(&[]author{}).Error; err != nil {
			require.ErrorIs(t, err, postgres.ErrSerialization, "a transaction cannot be run again from here")
		}
	}
	for _, tx := range held {
		require.NoError(t, tx.Rollback().Error)
	}
	require.NoError(t, other.Exec("ALTER TABLE authors DROP COLUMN town").Error)
	var row int
	require.NoError(t, db.Raw("SELECT * FROM authors").Row().Scan(&row, new(string), new(int)), "by QueryRow, too")
}

func TestTheLogHasNoValues(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &out, Mutex: new(sync.Mutex)})
	db, _ := fresh(t, postgres.Options{Log: log})
	require.NoError(t, db.Create(&author{Email: "secret"}).Error)
	out.Reset()

	for name, err := range map[string]error{
		"duplicate":     db.Create(&author{Email: "secret"}).Error,
		"check":         db.Create(&author{Email: "secret@example.org", Age: -1}).Error,
		"not a number":  db.Exec("UPDATE authors SET age = CAST(? AS text)::integer", "secret").Error,
		"not an ID":     db.Where("email = CAST(? AS text) AND CAST(email AS uuid) IS NULL", "secret").Find(&[]author{}).Error,
		"another type":  db.Exec("UPDATE authors SET age = ?", "secret").Error,
		"not found":     db.Where("email = ?", "secret2").Take(&author{}).Error,
		"out of bounds": db.Exec("SELECT CAST(? AS text)::interval", "1 secret").Error,
	} {
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret", name)
	}
	require.Contains(t, out.String(), `INSERT INTO "authors"`)
	require.NotContains(t, out.String(), "secret")
}

func TestNothingShowsAPassword(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"postgres://ada:secret@127.0.0.1:1/none",
		"postgres://ada:secret%zz@127.0.0.1:1/none",
		"postgres://ada:sec ret@127.0.0.1:1/none",
		"postgres://ada:secret@127.0.0.1:port/none",
		"postgres://ada:se@secret@127.0.0.1:port/none",
		"postgres://ada:secret@127.0.0.1:1/none?sslmode=maybe",
		"postgres://ada:secret@127.0.0.1:1/none?sslrootcert=/nowhere",
		"postgres://ada@127.0.0.1:port/none?password=secret",
		"host=127.0.0.1 port=x password=secret",
		"host=127.0.0.1 port=x password='a secret'",
		"ada:secret@127.0.0.1",
	} {
		for _, certificates := range [][]byte{nil, []byte("x")} {
			_, err := postgres.Open(t.Context(), source, postgres.Options{RootCertificates: certificates})
			require.Error(t, err, source)
			require.NotContains(t, err.Error(), "secret", source)
			require.NotContains(t, strings.ReplaceAll(err.Error(), "%20", " "), "a s", source)
			require.ErrorContains(t, err, "fix: ", source)
		}
	}
}

func TestQuoting(t *testing.T) {
	t.Parallel()
	db := open(t, dbtest.Empty(t), postgres.Options{})
	const odd = `a"b'c\d; DROP TABLE x --ü`
	require.NoError(t, db.Exec("CREATE TABLE "+postgres.Quote(odd)+" (n integer)").Error)
	var n int
	require.NoError(t, db.Raw("SELECT count(*) FROM pg_class WHERE relname = "+postgres.Literal(odd)).Scan(&n).Error)
	require.Equal(t, 1, n)
}
