package storage_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/storage/storagetest"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// root is the superuser in the database of url.
func root(t *testing.T, url string) *gorm.DB {
	t.Helper()
	return pgtest.Open(t, cluster.URL(strings.TrimPrefix(parsed(t, url).Path, "/"), "", ""))
}

// role is who a login is.
func role(t *testing.T, login *storage.Login) string {
	t.Helper()
	return parsed(t, login.Database.Source).User.Username()
}

func count(t *testing.T, db *gorm.DB, query string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, db.Raw(query, args...).Scan(&n).Error)
	return n
}

func names(findings []storage.Finding) (names []string) {
	for _, f := range findings {
		names = append(names, f.Name)
	}
	return names
}

func TestWhatTheCoreMayNotCloseIsFound(t *testing.T) {
	t.Parallel()
	may := storagetest.Open(t, daemons(t, cluster.Database(t, pgtest.SuperuserRights))())
	require.Equal(t, []string{"other databases"}, names(may.Findings()))
	require.Contains(t, may.Name(), "postgresql 1")

	url := cluster.Database(t, pgtest.CreateRole)
	mayNot := storagetest.Open(t, daemons(t, url)())
	require.Equal(t, []string{"large objects", "other databases"}, names(mayNot.Findings()))
	fix, ok := strings.CutPrefix(mayNot.Findings()[0].Fix, "as a superuser: ")
	require.True(t, ok)
	require.NoError(t, root(t, url).Exec(fix).Error)
	require.Equal(t, []string{"other databases"}, names(storagetest.Open(t, daemons(t, url)()).Findings()), "the fix works")
}

func TestARoleThatMayNotMakeRoles(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.Plain)
	options := daemons(t, url)()
	_, err := storage.Open(t.Context(), options)
	require.ErrorContains(t, err, "may not create roles")
	require.ErrorContains(t, err, "database.isolation: schema")
	require.Zero(t, count(t, root(t, url), "SELECT count(*) FROM pg_namespace WHERE nspname = 'platformd'"), "nothing was changed")

	options.Isolation = storage.IsolationSchema
	s := storagetest.Open(t, options)
	require.Equal(t, []string{"database isolation"}, names(s.Findings()))
	require.Contains(t, s.Name(), "modules are trusted")
	for _, module := range []string{"blog", "billing"} {
		db := storagetest.Connect(t, storagetest.Login(t, s, module, storage.ReadWrite))
		require.NoError(t, db.Exec("CREATE TABLE items (n integer)").Error, "each in its own schema")
		require.Equal(t, 1, count(t, db, "SELECT count(*) FROM pg_tables WHERE tablename = 'items' AND schemaname = ?", module))
	}
	rows, err := s.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestAnotherApplicationsSchemaIsLeftAlone(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.SuperuserRights)
	core := pgtest.Open(t, url)
	require.NoError(t, core.Exec("CREATE SCHEMA blog").Error)
	s := storagetest.Open(t, daemons(t, url)())
	for range 2 {
		_, err := s.Login(t.Context(), "blog", storage.ReadWrite)
		require.ErrorContains(t, err, "schema blog exists and was not made by platformd (fix:")
	}
	for _, reserved := range []string{"public", "platformd", "platformd_ledgers", "pg_catalog", "information_schema", "No", "a;b"} {
		_, err := s.Login(t.Context(), reserved, storage.Owner)
		require.ErrorContains(t, err, "give the module another name", reserved)
	}

	url = cluster.Database(t, pgtest.CreateRole)
	require.NoError(t, root(t, url).Exec("CREATE SCHEMA platformd").Error)
	_, err := storage.Open(t.Context(), daemons(t, url)())
	require.ErrorContains(t, err, "schema platformd belongs to role postgres (fix:")
}

// The server never sees a password, and no process can use what another was given.
func TestEachProcessHasItsOwnPassword(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	s := storagetest.Open(t, daemons(t, url)())
	blog := storagetest.Login(t, s, "blog", storage.ReadWrite)
	again := storagetest.Login(t, s, "blog", storage.ReadWrite)
	billing := storagetest.Login(t, s, "billing", storage.ReadWrite)
	require.NotEqual(t, role(t, blog), role(t, again))
	for _, other := range []*storage.Login{again, billing} {
		stolen := parsed(t, blog.Database.Source)
		stolen.User = parsed(t, other.Database.Source).User
		mine := parsed(t, blog.Database.Source).User
		password, _ := mine.Password()
		stolenURL := strings.Replace(stolen.String(), stolen.User.String(), stolen.User.Username()+":"+password, 1)
		_, err := postgres.Open(t.Context(), stolenURL, postgres.Options{})
		require.ErrorIs(t, err, postgres.ErrCredentials)
	}
	var stored string
	require.NoError(t, root(t, url).Raw("SELECT rolpassword FROM pg_authid WHERE rolname = ?", role(t, blog)).Scan(&stored).Error)
	require.True(t, strings.HasPrefix(stored, "SCRAM-SHA-256$4096:"), stored)
}

func TestALoginIsValidForAWhile(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	s, admin := storagetest.Open(t, daemons(t, url)()), root(t, url)
	login := storagetest.Login(t, s, "blog", storage.ReadWrite)
	left := func() int {
		return count(t, admin, "SELECT extract(epoch FROM rolvaliduntil - now())::int FROM pg_roles WHERE rolname = ?", role(t, login))
	}
	require.InDelta(t, 600, left(), 30)
	require.NoError(t, admin.Exec("ALTER ROLE "+role(t, login)+" VALID UNTIL '2020-01-01'").Error)
	_, err := backend.Open(t.Context(), login.Database, backend.Options{})
	require.ErrorIs(t, err, postgres.ErrCredentials)
	require.NoError(t, s.Renew(t.Context()))
	require.InDelta(t, 600, left(), 30)
	storagetest.Connect(t, login)
}

// A daemon that slept for an hour finds that others have taken its logins for left over.
func TestALoginThatWasTakenBackIsMadeAgain(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	open := daemons(t, url)
	sleeper, admin := storagetest.Open(t, open()), root(t, url)
	blog := storagetest.Login(t, sleeper, "blog", storage.ReadWrite)
	billing := storagetest.Login(t, sleeper, "billing", storage.Owner)
	require.NoError(t, admin.Exec("UPDATE platformd.logins SET expires_at = now() - interval '30 s'").Error)
	other := storagetest.Open(t, open())
	storagetest.Connect(t, blog) // not yet
	require.NoError(t, admin.Exec("UPDATE platformd.logins SET expires_at = now() - interval '2 min'").Error)
	require.NoError(t, other.Renew(t.Context()))
	for _, login := range []*storage.Login{blog, billing} {
		_, err := backend.Open(t.Context(), login.Database, backend.Options{})
		require.ErrorIs(t, err, postgres.ErrCredentials)
	}
	require.NoError(t, sleeper.Renew(t.Context()))
	storagetest.Connect(t, blog)
	owner := storagetest.Connect(t, billing)
	require.NoError(t, owner.Exec("CREATE TABLE t (n integer)").Error)
	require.NoError(t, blog.Close(t.Context()))
	require.NoError(t, sleeper.Renew(t.Context()))
	_, err := backend.Open(t.Context(), blog.Database, backend.Options{})
	require.ErrorIs(t, err, postgres.ErrCredentials, "what was closed is not made again")
}

func TestWhatAKilledDaemonLeftIsTakenBack(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	open := daemons(t, url)
	killed, other := open(), storagetest.Open(t, open())
	first := storagetest.Open(t, killed)
	left, kept := storagetest.Login(t, first, "blog", storage.ReadWrite), storagetest.Login(t, other, "blog", storage.ReadWrite)
	session := storagetest.Connect(t, left)
	storagetest.Open(t, killed)
	require.Error(t, session.Exec("SELECT 1").Error)
	_, err := backend.Open(t.Context(), left.Database, backend.Options{})
	require.ErrorIs(t, err, postgres.ErrCredentials)
	storagetest.Connect(t, kept)
	require.Equal(t, 1, count(t, root(t, url), "SELECT count(*) FROM platformd.logins"))
}

// A module may take any lock that it can: neither others nor the next start wait for it.
func TestLocksOfAModuleHoldUpNobody(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	open := daemons(t, url)
	s := storagetest.Open(t, open())
	storagetest.Login(t, s, "billing", storage.ReadWrite)
	for _, access := range []storage.Access{storage.ReadWrite, storage.Owner} {
		login := storagetest.Login(t, s, "blog", access)
		held := storagetest.Connect(t, login).Begin()
		defer held.Rollback()
		statements := []string{
			"SELECT pg_advisory_xact_lock_shared(i) FROM generate_series(1, 100) i",
			"SELECT pg_advisory_xact_lock_shared(hashtext('platformd'))", "NOTIFY platformd, 'x'", "LISTEN platformd",
		}
		if access == storage.ReadWrite { // a warning, and yet the catalog's row is written, and locked until the end
			statements = append(statements, "GRANT CONNECT ON DATABASE "+strings.TrimPrefix(parsed(t, url).Path, "/")+" TO PUBLIC",
				"GRANT USAGE ON SCHEMA platformd_ledgers TO PUBLIC", "GRANT USAGE ON SCHEMA blog TO PUBLIC")
		}
		for _, statement := range statements {
			require.NoError(t, held.Exec(statement).Error, statement)
		}
		if access == storage.Owner {
			require.NoError(t, held.Exec("LOCK TABLE platformd_ledgers.blog IN SHARE ROW EXCLUSIVE MODE").Error)
		}
	}
	began := time.Now()
	next := storagetest.Open(t, open())
	for _, module := range []string{"billing", "shop"} {
		owner := storagetest.Connect(t, storagetest.Login(t, next, module, storage.Owner))
		require.NoError(t, owner.Exec("CREATE TABLE x (n int)").Error)
	}
	_, err := next.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	require.NoError(t, storage.MigrateCore(next.Core(), "x"))
	require.Less(t, time.Since(began), 3*time.Second)
}

// What a migration makes under its own name becomes its module's.
func TestWhatALoginOwnsBecomesItsModules(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	s := storagetest.Open(t, daemons(t, url)())
	login := storagetest.Login(t, s, "blog", storage.Owner)
	db := storagetest.Connect(t, login)
	require.NoError(t, db.Connection(func(tx *gorm.DB) error {
		return errors.Join(tx.Exec("SET ROLE NONE").Error, tx.Exec("CREATE TABLE mine (n integer)").Error)
	}))
	owner := func() (name string) {
		require.NoError(t, root(t, url).Raw("SELECT tableowner FROM pg_tables WHERE tablename = 'mine'").Scan(&name).Error)
		return name
	}
	require.Equal(t, role(t, login), owner())
	require.NoError(t, login.Close(t.Context()))
	require.Regexp(t, "^pd_[0-9a-f]{8}_blog_owner$", owner())
	require.NoError(t, storagetest.Connect(t, storagetest.Login(t, s, "blog", storage.Owner)).Exec("DROP TABLE mine").Error)
}

// A role that owns something in another database cannot be dropped; it can do nothing any more either.
func TestALoginThatCannotBeDropped(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.CreateRole)
	options := daemons(t, url)()
	s := storagetest.Open(t, options)
	login, err := s.Login(t.Context(), "blog", storage.ReadWrite)
	require.NoError(t, err)
	elsewhere := parsed(t, login.Database.Source)
	elsewhere.Path = "/postgres"
	other := pgtest.Open(t, elsewhere.String())
	require.NoError(t, other.Exec("SET ROLE NONE").Error)
	var object int
	require.NoError(t, other.Raw("SELECT lo_create(0)").Scan(&object).Error)
	err = login.Close(t.Context())
	require.ErrorContains(t, err, "take back the login of module blog")
	for _, source := range []string{login.Database.Source, elsewhere.String()} {
		_, err := postgres.Open(t.Context(), source, postgres.Options{})
		require.ErrorIs(t, err, postgres.ErrCredentials)
	}
	require.Error(t, other.Exec("SELECT 1").Error, "its sessions are over")
	storagetest.Open(t, options) // is not held up by it
	require.NoError(t, cluster.Admin(t).Exec(fmt.Sprintf("SELECT lo_unlink(%d)", object)).Error)
	storagetest.Open(t, options)
	require.Zero(t, count(t, root(t, url), "SELECT count(*) FROM pg_roles WHERE rolname = ?", role(t, login)))
}

func TestADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	var own pgtest.Cluster
	t.Cleanup(func() { require.NoError(t, own.Stop()) })
	url := own.Database(t, pgtest.CreateRole)
	options := daemons(t, url)()
	s := storagetest.Open(t, options)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	login, err := s.Login(t.Context(), "blog", storage.ReadWrite)
	require.NoError(t, err)
	own.Down(t)

	began := time.Now()
	err = s.Ping(t.Context())
	require.ErrorContains(t, err, "start the PostgreSQL server")
	require.NotContains(t, err.Error(), "password")
	_, err = s.Login(t.Context(), "billing", storage.ReadWrite)
	require.Error(t, err)
	_, err = s.Ledger(t.Context(), "blog")
	require.Error(t, err)
	require.Error(t, s.Renew(t.Context()))
	require.Error(t, login.Close(t.Context()))
	_, err = storage.Open(t.Context(), options)
	var away *storage.ConnectError
	require.ErrorAs(t, err, &away)
	require.True(t, away.Passing)
	require.Less(t, time.Since(began), 10*time.Second)

	told := make(chan error, 100)
	waiting := options
	waiting.DataDir, waiting.Wait = t.TempDir(), time.Minute
	waiting.Waiting = func(err error) { told <- err }
	opened := make(chan error, 1)
	go func() {
		second, err := storage.Open(t.Context(), waiting)
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	require.ErrorAs(t, <-told, &away)
	own.Require(t)
	require.NoError(t, <-opened)
	require.NoError(t, s.Ping(t.Context()))
	require.NoError(t, s.Renew(t.Context()))
	cancel()
	running.Wait()
	require.NoError(t, s.Ping(t.Context()))
	_, err = backend.Open(t.Context(), login.Database, backend.Options{})
	require.ErrorIs(t, err, postgres.ErrCredentials, "it was taken back later")
}

func TestWhatCannotBeConnectedTo(t *testing.T) {
	t.Parallel()
	url := parsed(t, cluster.Database(t, pgtest.CreateRole))
	strange, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var hits atomic.Int32
	go func() {
		for {
			conn, err := strange.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { require.NoError(t, strange.Close()) })
	good := url.String()
	password, _ := url.User.Password()
	for name, test := range map[string]struct{ url, says, fix string }{
		"wrong password": {strings.Replace(good, password, "hunter2", 1), "authentication failed", "correct the user and the password"},
		"no such role":   {strings.Replace(good, url.User.Username(), "nobody_here", 1), "authentication failed", "correct the user"},
		"no database":    {strings.Replace(good, url.Path, "/none", 1), `database "none" does not exist`, "create the database"},
		"no server":      {strings.Replace(good, url.Host, "127.0.0.1:1", 1), "connection refused", "start the PostgreSQL server"},
		"no host":        {strings.Replace(good, url.Host, "no.such.host.invalid", 1), "no.such.host.invalid", "correct host, port"},
		"not postgresql": {strings.Replace(good, url.Host, strange.Addr().String(), 1), "cannot be used", "port and sslmode"},
		"no tls":         {strings.Replace(good, "sslmode=disable", "sslmode=require", 1), "TLS", "sslmode"},
		"no certificate": {good + "&sslrootcert=" + filepath.Join(t.TempDir(), "none"), "sslrootcert", "name a file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(test.url)})
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, test.fix)
			require.NotContains(t, err.Error(), password)
			require.NotContains(t, err.Error(), "hunter2")
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestOverAUnixSocket(t *testing.T) {
	t.Parallel()
	url := parsed(t, cluster.Database(t, pgtest.CreateRole))
	password, _ := url.User.Password()
	socket := cluster.SocketURL(strings.TrimPrefix(url.Path, "/"), url.User.Username(), password)
	s := storagetest.Open(t, daemons(t, socket)())
	db := storagetest.Connect(t, storagetest.Login(t, s, "blog", storage.Owner))
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND client_addr IS NULL "+
		"AND application_name = 'platformd:blog'"))
}

// The bounds are the role's, whatever the module asks for when it connects.
func TestALoginIsBounded(t *testing.T) {
	t.Parallel()
	s := storagetest.Open(t, daemons(t, cluster.Database(t, pgtest.CreateRole))())
	for access, want := range map[storage.Access]string{
		storage.ReadWrite: "30s 0 1min blog", storage.Owner: "0 10s 1min blog",
	} {
		login := storagetest.Login(t, s, "blog", access)
		var got string
		require.NoError(t, pgtest.Open(t, login.Database.Source).Raw("SELECT concat_ws(' ', current_setting('statement_timeout'), "+
			"current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), current_setting('search_path'))").
			Scan(&got).Error)
		require.Equal(t, want, got)
		for range login.Database.MaxConns - 1 {
			pgtest.Open(t, login.Database.Source)
		}
		_, err := postgres.Open(t.Context(), login.Database.Source, postgres.Options{})
		require.ErrorIs(t, err, postgres.ErrTooMany)
	}
}

// TestALoginThatAnotherSessionChanges: what was canceled, or another daemon, may be at work on a role when it is to go. The
// server lets the second wait, and then refuses it: it must try again.
func TestALoginThatAnotherSessionChanges(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t, pgtest.SuperuserRights)
	s, root := storagetest.Open(t, daemons(t, url)()), root(t, url)
	login, err := s.Login(t.Context(), "blog", storage.ReadWrite)
	require.NoError(t, err)
	name := role(t, login)

	other := root.Begin()
	require.NoError(t, other.Exec("ALTER ROLE "+name+" CONNECTION LIMIT 7").Error)
	ended := make(chan error, 1)
	go func() { ended <- login.Close(t.Context()) }()
	require.Eventually(t, func() bool {
		return count(t, root, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "+
			"AND wait_event_type = 'Lock'") > 0
	}, 5*time.Second, 5*time.Millisecond)
	require.NoError(t, other.Commit().Error)
	require.NoError(t, <-ended)
	require.Zero(t, count(t, root, "SELECT count(*) FROM pg_roles WHERE rolname = ?", name))
}
