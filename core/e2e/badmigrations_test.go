package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// wrongFiles is what is wrong with the migrations of scribe when its platform starts again. What each does to the database alone
// is tried in core/internal/migrate.
type wrongFiles struct {
	name  string
	files map[string]string // written over the good ones; an empty one is removed
	says  []string
}

func badFiles(backend string) []wrongFiles {
	denied := []string{"0007_reach", "platformd", "permission denied"}
	if backend == onSQLite {
		denied = []string{"0007_reach", "no such table: platformd.auth_tokens"}
	}
	return []wrongFiles{
		{"edited", map[string]string{"0002_table.up.sql": "CREATE TABLE scribe_table2 (n bigint);"}, []string{
			"migration 0002_table was edited after it had been applied", "statement 1 was ", `is "CREATE TABLE scribe_table2 (n bigint)"`,
		}},
		{"missing", map[string]string{"0003_table.up.sql": "", "0003_table.down.sql": ""}, []string{"lacks 0003_table"}},
		{"newer than the binary", map[string]string{"0006_index.up.sql": "", "0006_index.down.sql": ""}, []string{
			"the database is newer than the binary, which lacks 0006_index"}},
		{"out of order", map[string]string{"0000_early.up.sql": "CREATE TABLE scribe_early (n integer);"}, []string{
			"out of order: 0000_early is declared where the database has 0001_log"}},
		{"another schema", map[string]string{"0007_reach.up.sql": "DELETE FROM platformd.auth_tokens;"}, denied},
		{"syntax error", map[string]string{"0007_new.up.sql": "CREATE TABLE scribe_new (n integer);\n" +
			"INSERT INTO scribe_new VALUES (1);\nCREATE TABEL scribe_other (n integer);\n" +
			"INSERT INTO scribe_new VALUES (2);\nSELECT 1;"}, []string{
			"0007_new", "statement 3 of 5", "CREATE TABEL scribe_other"}},
	}
}

// lay writes the files of a bad start over the good ones, and returns what lays them out as they were.
func (bad wrongFiles) lay(t *testing.T, dir string) (restore func()) {
	t.Helper()
	folder := filepath.Join(dir, "modules", "scribe", "migrations")
	for name, content := range bad.files {
		file := filepath.Join(folder, name)
		if content == "" {
			require.NoError(t, os.Remove(file))
			continue
		}
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	return func() {
		require.NoError(t, os.RemoveAll(folder))
		require.NoError(t, os.CopyFS(folder, os.DirFS(filepath.Join(built, "modules", "scribe", "migrations"))))
	}
}

// TestBadMigrationsFailTheirModuleAlone starts a platform again and again, each time with something else wrong. The module has
// failed and says why, the others serve, and nothing is changed: in the end all is as before.
func TestBadMigrationsFailTheirModuleAlone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "hello", "scribe")
		p := launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("scribe")
		p.stop()
		for _, bad := range badFiles(backend) {
			restore := bad.lay(t, dir)
			p := launch(t, dir, options{})
			p.awaitReady()
			view := p.module("scribe")
			require.Equal(t, "failed", view.State, bad.name)
			for _, want := range bad.says {
				require.Contains(t, view.Reason, want, bad.name)
			}
			require.Zero(t, view.Restarts, "%s: trying again would not help", bad.name)
			p.serves("hello", http.StatusOK)
			down := p.do(http.MethodPost, "/api/v1/scribe/sql", "", "SELECT 1")
			require.Equal(t, http.StatusServiceUnavailable, down.status, bad.name)
			p.stop()
			restore()
		}
		p = launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("scribe")
		for _, table := range []string{"scribe_early", "scribe_new"} {
			got := p.do(http.MethodPost, "/api/v1/scribe/sql", "", "SELECT * FROM "+table)
			require.Equal(t, http.StatusForbidden, got.status, "%s is there: %s", table, got.body)
		}
	})
}

// coreDatabase opens the database of the platform in dir, as the core does.
func coreDatabase(t *testing.T, dir string) *gorm.DB {
	t.Helper()
	if source := databaseOf(dir); source != nil {
		return connect(t, strings.TrimPrefix(source[0], "PLATFORMD_DATABASE_URL=")+"&search_path=platformd")
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "data", "core.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sqlite.Close(db)) })
	return db
}

// TestBadMigrationsLockedByAnother waits for a lock as long as platforms do. The module names who has it, is tried again, and
// starts when the lock is given back.
func TestBadMigrationsLockedByAnother(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "hello")
		p := launch(t, dir, options{}) // makes the core's tables
		p.awaitReady()
		p.stop()
		core := coreDatabase(t, dir)
		require.NoError(t, core.Exec("INSERT INTO migration_locks (module, token, daemon, holder, since, expires_at) "+
			"VALUES ('scribe', 'x', 'another', 'another host, pid 7', ?, ?)", time.Now().UTC(), time.Now().UTC().Add(time.Hour)).Error)
		require.NoError(t, os.CopyFS(filepath.Join(dir, "modules", "scribe"), os.DirFS(filepath.Join(built, "modules", "scribe"))))

		p = launch(t, dir, options{})
		const holder = "being migrated by another host, pid 7 since "
		p.await("the wait to end", func() bool { return strings.Contains(p.log.String(), holder) })
		var view admin.Module
		p.await("it to be tried again later", func() bool { view = p.module("scribe"); return view.State == "backoff" })
		require.Contains(t, view.Reason, "module scribe is "+holder)
		p.serves("hello", http.StatusOK)
		require.NoError(t, core.Exec("DELETE FROM migration_locks").Error)
		p.requireMigratedOnce("scribe")
	})
}

// TestBadMigrationsKilledStep kills the process that runs an SQL file, in the middle of a step. The module has failed and says
// so; the core, the other modules and what was there before are as they were.
func TestBadMigrationsKilledStep(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "hello", "scribe")
		endless := "SELECT pg_sleep(3600)"
		if backend == onSQLite {
			endless = "SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c)"
		}
		bad := wrongFiles{files: map[string]string{"0007_long.up.sql": "CREATE TABLE scribe_long (n integer);\n" + endless + ";"}}
		restore := bad.lay(t, dir)
		p := launchBinary(t, dir, ownBinary(t, dir), options{})
		var child int
		p.await("the step to begin", func() bool {
			child = p.migrating(t)
			return child != 0 && strings.Count(p.log.String(), "0006_index") > 0
		})
		require.NoError(t, syscall.Kill(child, syscall.SIGKILL))
		p.awaitReady()
		view := p.module("scribe")
		require.Equal(t, "failed", view.State)
		require.Contains(t, view.Reason, "migration 0007_long failed: ")
		require.Contains(t, view.Reason, "signal killed")
		p.serves("hello", http.StatusOK)
		p.stop()

		restore()
		p = launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("scribe")
		got := p.do(http.MethodPost, "/api/v1/scribe/sql", "", "SELECT * FROM scribe_long")
		require.Equal(t, http.StatusForbidden, got.status, got.body)
	})
}

// migrating is the process that runs a step, found by the core's binary, which must be the platform's own; 0 if there is none.
func (p *platform) migrating(t *testing.T) int {
	t.Helper()
	binary := filepath.Join(p.dir, "platformd")
	pids := slices.DeleteFunc(below(t, p.dir), func(pid int) bool {
		target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		line, lineErr := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		return err != nil || lineErr != nil || target != binary || !strings.HasSuffix(string(line), "\x00__migrate\x00")
	})
	if len(pids) == 0 {
		return 0
	}
	return pids[0]
}

// TestBadMigrationsOfARemovedModule takes a module away and brings it back: its data is kept.
func TestBadMigrationsOfARemovedModule(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "hello", "scribe")
		p := launch(t, dir, options{})
		p.awaitReady()
		p.pid("scribe")
		require.Equal(t, []string{"kept"}, p.query("scribe", "INSERT INTO scribe_table2 (n) VALUES (77) RETURNING 'kept'"))
		p.stop()

		require.NoError(t, os.RemoveAll(filepath.Join(dir, "modules", "scribe")))
		p = launch(t, dir, options{})
		p.awaitReady()
		p.serves("hello", http.StatusOK)
		p.stop()

		require.NoError(t, os.CopyFS(filepath.Join(dir, "modules", "scribe"), os.DirFS(filepath.Join(built, "modules", "scribe"))))
		p = launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("scribe")
		require.Equal(t, []string{"77"}, p.query("scribe", "SELECT n FROM scribe_table2 WHERE n = 77"))
	})
}
