package e2e

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// The backends that a platform may keep its data in.
const (
	onSQLite     = "sqlite"
	onPostgreSQL = "postgresql"
)

// databases are the PostgreSQL databases of platforms, by folder; one without keeps its data in files.
var databases sync.Map

// onEach runs a test on every backend.
func onEach(t *testing.T, test func(t *testing.T, backend string)) {
	t.Helper()
	for _, backend := range []string{onSQLite, onPostgreSQL} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			test(t, backend)
		})
	}
}

// newDirOn is newDir for a platform on the given backend.
func newDirOn(t *testing.T, backend string, modules ...string) string {
	t.Helper()
	dir := newDir(t, modules...)
	databases.Delete(dir)
	useDatabase(t, dir, backend)
	return dir
}

// useDatabase makes the platforms of a folder use a new database of the backend; "" is SQLite.
func useDatabase(t *testing.T, dir, backend string) {
	t.Helper()
	if backend == onPostgreSQL {
		databases.Store(dir, newDatabase(t))
	}
}

// databaseOf is the setting that leads to the folder's database.
func databaseOf(dir string) []string {
	if source, ok := databases.Load(dir); ok {
		return []string{"PLATFORMD_DATABASE_URL=" + source.(string)} //nolint:errcheck // holds no other
	}
	return nil
}

// server is a PostgreSQL server on which tests may make databases and roles.
func server(t *testing.T) string {
	t.Helper()
	source := os.Getenv("PLATFORMD_TEST_POSTGRESQL")
	if source == "" {
		const fix = "set PLATFORMD_TEST_POSTGRESQL to the URL of a server whose superuser it names"
		if os.Getenv("PLATFORMD_TEST_SERVICES") == "required" {
			t.Fatal(fix)
		}
		t.Skip(fix)
	}
	return source
}

// newDatabase makes an empty database, and drops it with its roles when the test has ended.
func newDatabase(t *testing.T) string {
	t.Helper()
	admin := connect(t, server(t))
	name := "pde2e_" + strings.ToLower(rand.Text()[:12])
	require.NoError(t, admin.Exec("CREATE DATABASE "+name).Error)
	source := withDatabase(t, server(t), name)
	t.Cleanup(func() {
		installation := installationOf(source)
		require.NoError(t, admin.Exec("DROP DATABASE "+name+" WITH (FORCE)").Error)
		if installation != "" {
			dropRoles(t, admin, "pd_"+installation+"_%")
		}
	})
	return source
}

// installationOf is the name under which the platform has its roles; "" if no platform ever used the database.
func installationOf(source string) (id string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience) // also when the test has ended
	defer cancel()
	db, err := postgres.Open(ctx, source, postgres.Options{MaxConns: 1})
	if err != nil {
		return ""
	}
	defer func() { _ = postgres.Close(db) }()
	if db.Raw("SELECT id FROM platformd.installation").Scan(&id).Error != nil {
		return ""
	}
	return id
}

func dropRoles(t *testing.T, admin *gorm.DB, like string) {
	t.Helper()
	var roles []string
	require.NoError(t, admin.Raw("SELECT rolname FROM pg_roles WHERE rolname LIKE ?", like).Scan(&roles).Error)
	for _, role := range roles {
		require.NoError(t, admin.Exec("DROP ROLE "+role).Error)
	}
}

// connect opens a database for the test's own questions.
func connect(t *testing.T, source string) *gorm.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), source, postgres.Options{MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, postgres.Close(db)) })
	return db
}

func withDatabase(t *testing.T, source, name string) string {
	t.Helper()
	u, err := url.Parse(source)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}
