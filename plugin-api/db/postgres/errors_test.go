package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/problem"
)

// What every driver of the platform must translate, by the ways that lead there: package sqlite's table, and more.
func TestErrorsHaveNames(t *testing.T) {
	t.Parallel()
	for name, test := range namedErrors() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t, postgres.Options{MaxConns: 2})
			require.NoError(t, db.Create([]author{{Email: "a@example.org"}, {Email: "z@example.org"}}).Error)
			err := test.run(db)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.says)
			require.LessOrEqual(t, strings.Count(err.Error(), test.want.Error()+": "), 1, "named once: %v", err)
			answer, public := problem.FromError(err)
			require.Equal(t, test.status != 0, public, "%v", err)
			if public {
				require.Equal(t, test.status, answer.Status)
				require.NotContains(t, answer.Detail, "authors")
			}
			require.NoError(t, db.Create(&author{Email: "after@example.org"}).Error, "the database still works")
		})
	}
}

// namedError is a failure, and what becomes of it.
type namedError struct {
	run    func(db *gorm.DB) error
	want   error
	says   string
	status int // that a client gets; 0: an internal error
}

func namedErrors() map[string]namedError {
	return map[string]namedError{
		"unique": {func(db *gorm.DB) error {
			return db.Create(&author{Email: "a@example.org"}).Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email", http.StatusConflict},
		"primary key": {func(db *gorm.DB) error {
			return db.Create(&author{ID: 1, Email: "b@example.org"}).Error
		}, gorm.ErrDuplicatedKey, "authors_pkey", http.StatusConflict},
		"unique in a batch": {func(db *gorm.DB) error {
			return db.Create([]author{{Email: "b@example.org"}, {Email: "b@example.org"}}).Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email", http.StatusConflict},
		"unique by update": {func(db *gorm.DB) error {
			return db.Model(&author{ID: 2}).Update("email", "a@example.org").Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email", http.StatusConflict},
		"unique in raw SQL": {func(db *gorm.DB) error {
			return db.Exec("INSERT INTO authors (email) VALUES ('a@example.org')").Error
		}, gorm.ErrDuplicatedKey, "idx_authors_email", http.StatusConflict},
		"unique in a nested transaction": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&author{Email: "a@example.org"}).Error })
			})
		}, gorm.ErrDuplicatedKey, "idx_authors_email", http.StatusConflict},
		"foreign key": {func(db *gorm.DB) error {
			return db.Create(&post{AuthorID: 99}).Error
		}, gorm.ErrForeignKeyViolated, "fk_posts_author", http.StatusPreconditionFailed},
		"deferred foreign key, at commit": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Exec("ALTER TABLE posts ALTER CONSTRAINT fk_posts_author DEFERRABLE INITIALLY DEFERRED").Error,
					tx.Create(&post{AuthorID: 99}).Error)
			})
		}, gorm.ErrForeignKeyViolated, "fk_posts_author", http.StatusPreconditionFailed},
		"check": {func(db *gorm.DB) error {
			return db.Create(&author{Email: "b@example.org", Age: -1}).Error
		}, gorm.ErrCheckConstraintViolated, "chk_authors_age", http.StatusBadRequest},
		"check in an association": {func(db *gorm.DB) error {
			return db.Create(&post{Author: author{Email: "b@example.org", Age: -1}}).Error
		}, gorm.ErrCheckConstraintViolated, "chk_authors_age", http.StatusBadRequest},
		"not found": {func(db *gorm.DB) error {
			return db.Take(&author{}, 99).Error
		}, gorm.ErrRecordNotFound, "record not found", http.StatusNotFound},
		"read only": {func(db *gorm.DB) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Exec("SET TRANSACTION READ ONLY").Error, tx.Create(&author{Email: "b@example.org"}).Error)
			})
		}, postgres.ErrReadOnly, "fix: ", 0},
		"a lock that others hold": {lockHeld, postgres.ErrSerialization, "lock timeout", http.StatusConflict},
		"the session is ended": {func(db *gorm.DB) error {
			return db.Exec("SELECT pg_terminate_backend(pg_backend_pid())").Error
		}, postgres.ErrUnavailable, "terminating connection", http.StatusServiceUnavailable},
	}
}

// lockHeld waits in vain for a row that another transaction has locked.
func lockHeld(db *gorm.DB) error {
	return db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(tx.Exec("UPDATE authors SET age = 1").Error, db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Exec("SET LOCAL lock_timeout = 1").Error, tx.Exec("UPDATE authors SET age = 2").Error)
		}))
	})
}

// Of two transactions that each read what the other writes, one has to try again.
func TestSerializationHasAName(t *testing.T) {
	t.Parallel()
	db := fresh(t, postgres.Options{MaxConns: 2})
	require.NoError(t, db.Create(&author{ID: 1, Email: "a@example.org"}).Error)
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").Error; err != nil {
			return err
		}
		return errors.Join(tx.Take(&author{}).Error, db.Exec("UPDATE authors SET age = 1").Error,
			tx.Exec("UPDATE authors SET age = 2").Error)
	})
	require.ErrorIs(t, err, postgres.ErrSerialization)
}

func TestOtherErrorsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ query, says string }{
		"syntax":        {"SELEKT 1", "syntax error"},
		"not null":      {"INSERT INTO authors (email) VALUES (NULL)", "not-null"},
		"not supported": {"SELECT count(*) FROM authors FOR UPDATE", "FOR UPDATE"}, // as a stale plan, but no use to try again
		"too slow":      {"SELECT pg_sleep(60)", "statement timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t, postgres.Options{Settings: map[string]string{"statement_timeout": "2000"}})
			err := db.Exec(test.query).Error
			require.ErrorContains(t, err, test.says)
			for _, known := range []error{
				gorm.ErrDuplicatedKey, postgres.ErrSerialization, postgres.ErrUnavailable, postgres.ErrDenied, postgres.ErrTooMany,
			} {
				require.NotErrorIs(t, err, known)
			}
			_, public := problem.FromError(err)
			require.False(t, public, "%v", err)
		})
	}
}

// Nor is the context's end the database's fault.
func TestACanceledQueryIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	db := fresh(t, postgres.Options{})
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := db.WithContext(soon).Exec("SELECT pg_sleep(60)").Error
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, postgres.ErrUnavailable)
	require.NoError(t, db.Exec("SELECT 1").Error)
}

// login makes a role with a password and drops it when the test has ended; options are those of CREATE ROLE.
func login(t *testing.T, options string) *url.Userinfo {
	t.Helper()
	admin := open(t, dbtest.Server(t), postgres.Options{})
	name, password := "pdtest_"+strings.ToLower(rand.Text()[:12]), "s3cret"
	require.NoError(t, admin.Exec("CREATE ROLE "+name+" LOGIN "+options+" PASSWORD "+postgres.Literal(password)).Error)
	t.Cleanup(func() {
		again, err := postgres.Open(context.WithoutCancel(t.Context()), dbtest.Server(t), postgres.Options{})
		require.NoError(t, err)
		require.NoError(t, errors.Join(again.Exec("DROP ROLE "+name).Error, postgres.Close(again)))
	})
	return url.UserPassword(name, password)
}

func TestWhatKeepsOneOut(t *testing.T) {
	t.Parallel()
	server := dbtest.Server(t)
	as := func(options string) string {
		return with(t, server, func(u *url.URL, _ url.Values) { u.User = login(t, options) })
	}
	for name, test := range map[string]struct {
		source string
		want   error
	}{
		"nobody listens": {"postgres://u:s3cret@127.0.0.1:1/d?sslmode=disable", postgres.ErrUnavailable},
		"no such host":   {"postgres://u:s3cret@nowhere.invalid/d?sslmode=disable", postgres.ErrUnavailable},
		"no such database": {with(t, server, func(u *url.URL, _ url.Values) {
			u.Path = "/pdtest_nowhere"
		}), postgres.ErrNoDatabase},
		"no such role": {with(t, server, func(u *url.URL, _ url.Values) {
			u.User = url.UserPassword("pdtest_nobody", "s3cret")
		}), postgres.ErrCredentials},
		"no connection left": {as("CONNECTION LIMIT 0"), postgres.ErrTooMany},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), test.source, postgres.Options{})
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, "open database ")
			require.ErrorContains(t, err, "fix: ")
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
}

func TestOthersThingsAreDenied(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	require.NoError(t, open(t, source, postgres.Options{}).Exec("CREATE TABLE theirs (n integer)").Error)
	somebody := with(t, source, func(u *url.URL, _ url.Values) { u.User = login(t, "") })
	err := open(t, somebody, postgres.Options{}).Exec("SELECT * FROM theirs").Error
	require.ErrorIs(t, err, postgres.ErrDenied)
	_, public := problem.FromError(err)
	require.False(t, public, "%v", err)
}

// A password is in no error, in whatever way the URL is wrong.
func TestAPasswordIsInNoError(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"postgres://u:s3cret@127.0.0.1:port/d",
		"postgres://u:s3cret@127.0.0.1:5432/d?sslmode=maybe",
		"postgres://u:s3cret@127.0.0.1:5432/d?connect_timeout=soon",
		"postgres://u:s3cret%zz@127.0.0.1:5432/d",
		"postgres://u:s3cret word@127.0.0.1:5432/d",
		"postgres://u:word s3cret@127.0.0.1:5432/d",
		"postgres://u:wo/rd s3cret@127.0.0.1:5432/d",
		"postgres://u:s3cret@word@127.0.0.1:port/d",
		"postgres://u:word@s3cret@127.0.0.1:port/d",
		"postgres://u:word@ s3cret@127.0.0.1:port/d",
		"postgres://u:#s3cret@127.0.0.1:5432/d",
		"postgres://u:s3cret\x7f@127.0.0.1:5432/d",
		"postgres://u@127.0.0.1:port/d?password=s3cret",
		"postgres://127.0.0.1:5432/d?password=s3cret&user=u&sslmode=maybe",
		"postgresql://u:s3cret@[::1/d",
		" postgres://u:s3cret@127.0.0.1:5432/d",
		"mysql://u:s3cret@127.0.0.1:3306/d?sslmode=maybe",
		"host=127.0.0.1 port=none user=u password=s3cret",
		"host=127.0.0.1 port=none user=u password='my s3cret'",
		"host=127.0.0.1 port=none user=u password = s3cret",
		"u:s3cret@127.0.0.1/d",
		"s3cret",
		"",
	} {
		for _, certificates := range [][]byte{nil, []byte("some")} {
			_, err := postgres.Open(t.Context(), source, postgres.Options{RootCertificates: certificates})
			require.ErrorContains(t, err, "fix: ", source)
			require.NotContains(t, err.Error(), "s3cret", source)
		}
	}
}

// front passes connections on to a server, until it is cut.
type front struct {
	listener net.Listener
	running  sync.WaitGroup
	mu       sync.Mutex // guards open
	open     []net.Conn
}

// serve listens for connections and lets handle have each. What handle does ends when its connection is closed.
func serve(t *testing.T, handle func(conn net.Conn)) *front {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &front{listener: listener}
	f.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.open = append(f.open, conn)
			f.mu.Unlock()
			f.running.Go(func() { handle(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		f.cut()
		f.running.Wait()
	})
	return f
}

func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.open {
		_ = conn.Close()
	}
	f.open = nil
}

// through is source by way of the front.
func (f *front) through(t *testing.T, source string) string {
	t.Helper()
	return with(t, source, func(u *url.URL, _ url.Values) { u.Host = f.listener.Addr().String() })
}

// pass connects conn with the server at address, both ways, until either ends.
func pass(conn net.Conn, address string) {
	defer conn.Close()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for to, from := range map[net.Conn]net.Conn{server: conn, conn: server} {
		both.Go(func() {
			_, _ = io.Copy(to, from)
			_, _ = server.Close(), conn.Close()
		})
	}
	both.Wait()
}

// addressOf is where the server listens.
func addressOf(t *testing.T, source string) string {
	t.Helper()
	u, err := url.Parse(source)
	require.NoError(t, err)
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// A server that dies says nothing. Whoever asked it at that moment learns that it is away, and later ones find it back.
func TestAConnectionThatIsCut(t *testing.T) {
	t.Parallel()
	source := dbtest.Empty(t)
	way := serve(t, func(conn net.Conn) { pass(conn, addressOf(t, source)) })
	db, watcher := open(t, way.through(t, source), postgres.Options{}), open(t, source, postgres.Options{})
	asked := make(chan error, 1)
	go func() { asked <- db.Exec("SELECT pg_sleep(60), 'cut'").Error }()
	sleeping := func() (found bool) {
		require.NoError(t, watcher.Raw("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND "+
			"state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()").Scan(&found).Error)
		return found
	}
	require.Eventually(t, sleeping, 30*time.Second, 10*time.Millisecond)
	way.cut()
	err := <-asked
	require.ErrorIs(t, err, postgres.ErrUnavailable)
	answer, public := problem.FromError(err)
	require.True(t, public)
	require.Equal(t, http.StatusServiceUnavailable, answer.Status)
	require.NoError(t, db.Exec("SELECT 1").Error)
	way.cut()
	require.NoError(t, db.Exec("SELECT 1").Error, "a connection that died while nobody used it is nobody's error")
}
