// Package dbtest gives a module's tests fresh databases, on every backend that the platform may run it on.
//
// It is for tests. On PostgreSQL a module has the rights that it has in production, so that one which makes tables while
// it is at work fails here as it would there.
package dbtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// ServerEnv names the variable with the URL of a PostgreSQL server on which tests may make databases and roles, as a superuser:
// postgres://postgres@127.0.0.1:5432/postgres. Without it tests on PostgreSQL are skipped; if PLATFORMD_TEST_SERVICES is
// "required", they fail.
const ServerEnv = "PLATFORMD_TEST_POSTGRESQL"

// cleanupTimeout bounds the removal of a database.
const cleanupTimeout = 30 * time.Second

// Each runs test once for each backend, side by side, with an empty database of a module by that name.
func Each(t *testing.T, module string, test func(t *testing.T, database *plugintest.Database)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, SQLite(t, module))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		test(t, PostgreSQL(t, module))
	})
}

// SQLite makes a file that is removed at the end of the test.
func SQLite(t testing.TB, module string) *plugintest.Database {
	t.Helper()
	database := pluginapi.Database{
		Driver: backend.SQLite, Source: filepath.Join(t.TempDir(), module, module+".db"), TablePrefix: module + "_",
	}
	return &plugintest.Database{Migrations: database, Work: database, Outbox: outboxOf(database, database)}
}

// Server is the URL of the server that ServerEnv names; a test that finds none is skipped.
func Server(t testing.TB) string {
	t.Helper()
	server := os.Getenv(ServerEnv)
	if server != "" {
		return server
	}
	const fix = "set " + ServerEnv + " to the URL of a PostgreSQL server, as its superuser"
	if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
		t.Fatal(fix)
	}
	t.Skip(fix)
	return ""
}

// Empty makes a PostgreSQL database with nothing in it, which is dropped at the end of the test, and returns its URL as the
// server's superuser.
func Empty(t testing.TB) string {
	t.Helper()
	server := Server(t)
	admin := open(t, server)
	name := "pdtest_" + random()
	must(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { must(t, admin, "DROP DATABASE "+name+" WITH (FORCE)") })
	return with(t, server, func(u *url.URL) { u.Path = "/" + name })
}

// PostgreSQL makes a database with a schema for the module and two roles, which are dropped at the end of the test.
func PostgreSQL(t testing.TB, module string) *plugintest.Database {
	t.Helper()
	admin := open(t, Server(t))
	id, password := "pdtest_"+random(), rand.Text()
	place := postgres.Place{Schema: module, Owner: id + "_owner", ReadWrite: id + "_rw"}
	for _, role := range []string{place.Owner, place.ReadWrite} { // before the database: it goes first
		must(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD "+postgres.Literal(password))
		t.Cleanup(func() { must(t, admin, "DROP ROLE "+role) })
	}
	source := Empty(t)
	db := open(t, source)
	if err := postgres.Provision(db, place); err != nil {
		t.Fatal(err)
	}
	login := func(role string) pluginapi.Database {
		return pluginapi.Database{
			Driver: backend.PostgreSQL, TablePrefix: module + "_", MaxConns: 3, Ledger: place.Ledger(),
			Source: with(t, source, func(u *url.URL) {
				u.User = url.UserPassword(role, password)
				query := u.Query()
				query.Set("search_path", module)
				u.RawQuery = query.Encode()
			}),
		}
	}
	must(t, db, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
	owner, work := login(place.Owner), login(place.ReadWrite)
	return &plugintest.Database{Migrations: owner, Work: work, Outbox: outboxOf(owner, work)}
}

// open connects for as long as the test lasts, and to the end of its cleanup.
func open(t testing.TB, source string) *gorm.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), source, postgres.Options{MaxConns: 1})
	if err != nil {
		t.Fatalf("connect to the server that %s names: %v", ServerEnv, err)
	}
	t.Cleanup(func() {
		if err := postgres.Close(db); err != nil {
			t.Error(err)
		}
	})
	return db
}

func must(t testing.TB, db *gorm.DB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanupTimeout) // the test may have ended
	defer cancel()
	if err := db.WithContext(ctx).Exec(statement).Error; err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func with(t testing.TB, source string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(source)
	if err != nil {
		t.Fatalf("%s: %v", ServerEnv, err)
	}
	change(u)
	return u.String()
}

func random() string { return strings.ToLower(rand.Text()[:12]) }
