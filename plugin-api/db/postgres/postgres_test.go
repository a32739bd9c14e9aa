package postgres_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

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
	ID       uint
	AuthorID uint
	Author   author `gorm:"constraint:OnDelete:CASCADE"`
	Title    string
	Made     time.Time
	Read     *time.Time
}

// open opens a database and closes it when the test ends.
func open(t *testing.T, source string, o postgres.Options) *gorm.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), source, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, postgres.Close(db)) })
	return db
}

// fresh opens a new database with the tables of author and post.
func fresh(t *testing.T, o postgres.Options) *gorm.DB {
	t.Helper()
	db := open(t, dbtest.Empty(t), o)
	require.NoError(t, db.AutoMigrate(&author{}, &post{}))
	return db
}

// with is source after a change.
func with(t *testing.T, source string, change func(u *url.URL, query url.Values)) string {
	t.Helper()
	u, err := url.Parse(source)
	require.NoError(t, err)
	query := u.Query()
	change(u, query)
	u.RawQuery = query.Encode()
	return u.String()
}

func show(t *testing.T, db *gorm.DB, name string) (value string) {
	t.Helper()
	require.NoError(t, db.Raw("SELECT current_setting(?)", name).Scan(&value).Error)
	return value
}

func TestSettingsAreThoseOfEveryConnection(t *testing.T) {
	t.Parallel()
	source := with(t, dbtest.Empty(t), func(_ *url.URL, query url.Values) { query.Set("timezone", "Asia/Tokyo") })
	db := open(t, source, postgres.Options{MaxConns: 3, Settings: map[string]string{"search_path": "elsewhere"}})
	for range 3 { // held open together, so that they are three
		tx := db.Begin()
		require.NoError(t, tx.Error)
		defer tx.Rollback()
		require.Equal(t, "elsewhere", show(t, tx, "search_path"))
		require.Equal(t, "UTC", show(t, tx, "TimeZone"), "whatever the URL says")
	}
}

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	db := fresh(t, postgres.Options{})
	require.NoError(t, db.Create(&author{ID: 1, Email: "a@example.org"}).Error)
	want := time.Date(2026, 5, 1, 23, 30, 0, 123_456_000, time.FixedZone("far east", 9*60*60))
	require.NoError(t, db.Create(&post{ID: 1, AuthorID: 1, Made: want, Read: &want}).Error)

	var got post
	require.NoError(t, db.Take(&got).Error)
	require.Equal(t, want.UTC(), got.Made, "as in SQLite: not in this machine's zone")
	require.Equal(t, want.UTC(), *got.Read)
	var bare time.Time
	require.NoError(t, db.Raw("SELECT max(made) FROM posts").Scan(&bare).Error)
	require.Equal(t, want.UTC(), bare)
	now := db.NowFunc()
	require.Equal(t, now.UTC().Truncate(time.Microsecond), now, "what the database keeps of a time")
}

func TestPoolSizes(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	for name, test := range map[string]struct{ asked, want int }{
		"not said": {0, 1}, "nonsense": {-3, 1}, "one": {1, 1}, "three": {3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, source, postgres.Options{MaxConns: test.asked})
			sqlDB, err := db.DB()
			require.NoError(t, err)
			require.Equal(t, test.want, sqlDB.Stats().MaxOpenConnections)
			var held []*gorm.DB
			for range test.want {
				tx := db.Begin()
				require.NoError(t, tx.Error)
				held = append(held, tx)
			}
			soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			require.ErrorIs(t, db.WithContext(soon).Exec("SELECT 1").Error, context.DeadlineExceeded, "there is no more")
			for _, tx := range held {
				require.NoError(t, tx.Rollback().Error)
			}
			require.NoError(t, db.Exec("SELECT 1").Error)
			require.Equal(t, test.want, sqlDB.Stats().Idle, "they are kept")
		})
	}
}

func TestNestedTransactions(t *testing.T) {
	t.Parallel()
	db := fresh(t, postgres.Options{})
	require.NoError(t, db.Create(&author{Email: "taken@example.org"}).Error)
	no := errors.New("no")
	require.NoError(t, db.Transaction(func(tx *gorm.DB) error {
		undone := tx.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Create(&author{Email: "undone@example.org"}).Error, no)
		})
		require.ErrorIs(t, undone, no)
		// On PostgreSQL a statement that fails ends the transaction, but for the savepoint.
		failed := tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&author{Email: "taken@example.org"}).Error })
		require.ErrorIs(t, failed, gorm.ErrDuplicatedKey)
		return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&author{Email: "kept@example.org"}).Error })
	}))
	var emails []string
	require.NoError(t, db.Model(&author{}).Order("id").Pluck("email", &emails).Error)
	require.Equal(t, []string{"taken@example.org", "kept@example.org"}, emails)
}

// Every connection has planned its statements when another process changes the table under them.
func TestAStalePlanIsMadeAnew(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	const conns = 4
	db, other := open(t, source, postgres.Options{MaxConns: conns}), open(t, source, postgres.Options{})
	require.NoError(t, other.Exec("CREATE TABLE things (id integer PRIMARY KEY)").Error)
	require.NoError(t, other.Exec("INSERT INTO things VALUES (1)").Error)
	type thing struct{ ID int }
	ways := map[string]func(db *gorm.DB) error{
		"query": func(db *gorm.DB) error { return db.Take(&thing{}).Error },
		"row":   func(db *gorm.DB) error { return db.Raw("SELECT id FROM (SELECT * FROM things) t").Row().Scan(new(int)) },
		"exec":  func(db *gorm.DB) error { return db.Exec("UPDATE things SET id = id WHERE id > 1 RETURNING *").Error },
	}
	for name, way := range ways {
		var held []*gorm.DB
		for range conns {
			tx := db.Begin()
			require.NoError(t, way(tx), name)
			held = append(held, tx)
		}
		for _, tx := range held {
			require.NoError(t, tx.Commit().Error)
		}
		require.NoError(t, other.Exec("ALTER TABLE things ADD COLUMN "+name+" text").Error)
		for range conns + 1 {
			require.NoError(t, way(db), name)
		}
	}
}

// Within a transaction it cannot be made anew: it is over. Whoever runs it again has a new plan.
func TestAStalePlanInATransaction(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	db, other := open(t, source, postgres.Options{}), open(t, source, postgres.Options{})
	require.NoError(t, other.Exec("CREATE TABLE things (id integer)").Error)
	look := func(tx *gorm.DB) error { return tx.Find(&[]struct{ ID int }{}).Error }
	count := func() error {
		return db.Table("things").Transaction(func(tx *gorm.DB) error { return look(tx.Table("things")) })
	}
	require.NoError(t, count())
	require.NoError(t, other.Exec("ALTER TABLE things ADD COLUMN n integer").Error)
	require.ErrorIs(t, count(), postgres.ErrSerialization)
	require.NoError(t, count())
}

// A server that accepts and then says nothing, as one behind a firewall does, keeps nobody.
func TestConnectingHasALimit(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	for name, query := range map[string]string{"ours": "", "the URL's": "&connect_timeout=1"} {
		t.Run(name, func(t *testing.T) {
			_, err := postgres.Open(t.Context(), "postgres://u:s3cret@"+listener.Addr().String()+"/d?sslmode=disable"+query,
				postgres.Options{})
			require.ErrorIs(t, err, postgres.ErrUnavailable)
			require.ErrorContains(t, err, "open database d at 127.0.0.1:")
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := postgres.Open(ended, dbtest.Server(t), postgres.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestCloseEndsTheSessions(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	db, err := postgres.Open(t.Context(), with(t, source, func(_ *url.URL, query url.Values) {
		query.Set("application_name", "closing")
	}), postgres.Options{MaxConns: 2})
	require.NoError(t, err)
	sessions := func() (n int) {
		watcher := open(t, source, postgres.Options{})
		require.NoError(t, watcher.Raw("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
			"AND application_name = 'closing'").Scan(&n).Error)
		return n
	}
	require.Equal(t, 1, sessions())
	require.NoError(t, postgres.Close(db))
	require.Eventually(t, func() bool { return sessions() == 0 }, 30*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, db.Exec("SELECT 1").Error, "closed")
}
