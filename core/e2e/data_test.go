package e2e

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/pgtest"
)

// clerkSteps are the migrations of clerk and of scribe, in order.
var clerkSteps = []string{"0001_log", "0002_table", "0003_table", "0004_table", "0005_table", "0006_index"}

// query has the module run SQL, and returns its rows; a refusal fails the test.
func (p *platform) query(module, statement string) (values []string) {
	p.t.Helper()
	got := p.do(http.MethodPost, "/api/v1/"+module+"/sql", "", statement)
	require.Equal(p.t, http.StatusOK, got.status, "%s: %s", statement, got.body)
	got.decode(p.t, &values)
	return values
}

// requireMigratedOnce checks that every step of clerk or scribe has been run once, and that the ledger knows it.
func (p *platform) requireMigratedOnce(module string) {
	p.t.Helper()
	p.pid(module)
	require.Equal(p.t, clerkSteps, p.query(module, "SELECT step FROM "+module+"_log ORDER BY step"), "each step, once")
	var statuses []struct {
		Module string `json:"module"`
		Steps  []struct {
			ID    string `json:"id"`
			State string `json:"state"`
		} `json:"steps"`
	}
	require.NoError(p.t, json.Unmarshal([]byte(p.cli("migrate", "status", "--module", module, "-o", "json")), &statuses))
	require.Len(p.t, statuses, 1)
	var applied []string
	for _, step := range statuses[0].Steps {
		require.Equal(p.t, "applied", step.State, step.ID)
		applied = append(applied, step.ID)
	}
	require.Equal(p.t, clerkSteps, applied)
}

// TestDataG25EightDaemons starts eight daemons at once on one empty database, again and again. It runs alone: some forty
// processes that start at once would make others late that have promised to be in time. It has a server of its own, because
// together they may have a hundred connections, which is all that many a server has, and other tests need some too.
func TestDataG25EightDaemons(t *testing.T) {
	var cluster pgtest.Cluster
	cluster.Require(t) // or skip, before anything is reported
	t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
	rounds := count(1, 50)
	var took figures
	report(t, proof{"G25", "8 daemons started at once on one empty PostgreSQL database", rounds}, func() string {
		return "all ready: " + took.String()
	})
	for range rounds {
		t.Run("round", func(t *testing.T) { took = append(took, eightDaemons(t, cluster.Database(t, pgtest.CreateRole))) })
	}
}

// eightDaemons starts them on an empty database, and returns how long that took.
func eightDaemons(t *testing.T, source string) (took time.Duration) {
	t.Helper()
	began := time.Now()
	daemons := make([]*platform, 8)
	for i := range daemons {
		dir := newDir(t, "billing", "blog", "clerk", "scribe")
		databases.Store(dir, source)
		daemons[i] = launch(t, dir, options{env: []string{
			"PLATFORMD_DATABASE_MAXCONNS=2", "PLATFORMD_DATABASE_MODULEMAXCONNS=1",
		}})
	}
	for _, p := range daemons {
		p.awaitReady()
		for _, module := range []string{"billing", "blog", "clerk", "scribe"} {
			p.pid(module)
		}
	}
	took = time.Since(began)
	for _, p := range daemons {
		requireNoErrors(t, p.log.String())
		p.requireMigratedOnce("clerk")
		p.requireMigratedOnce("scribe")
	}
	var all sync.WaitGroup
	for _, p := range daemons {
		all.Go(p.stop)
	}
	all.Wait()
	requireNoLogins(t, source)
	return took
}

// requireNoErrors looks for what went wrong. That decisions about access are not current for a moment is what a daemon rightly
// says while eight of them start on one server that has not the processors for it.
func requireNoErrors(t *testing.T, log string) {
	t.Helper()
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"@module":"authz"`) && strings.Contains(line, "cannot be kept current") {
			continue
		}
		require.NotContains(t, line, "[ERROR]")
		require.NotContains(t, line, `"@level":"error"`)
	}
}

// requireNoLogins checks that nobody is left who could log in as a module.
func requireNoLogins(t *testing.T, source string) {
	t.Helper()
	var left []string
	require.NoError(t, connect(t, source).Raw("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE ?",
		"pd_"+installationOf(source)+"_%").Scan(&left).Error)
	require.Empty(t, left)
}

// TestDataG25KilledInAStep kills the core while a module is in each of its migrations, after the step's writes.
func TestDataG25KilledInAStep(t *testing.T) {
	t.Parallel()
	report(t, proof{"G25", "kill -9 of the core within each of 6 migrations in Go, on each backend", len(clerkSteps) * 2}, nil)
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "hello", "clerk")
		for _, id := range clerkSteps {
			hold := filepath.Join(dir, "modules", "clerk", "hold-"+id)
			require.NoError(t, os.WriteFile(hold, nil, 0o644))
			p := launch(t, dir, options{})
			p.await("the step to be reached", func() bool { return strings.Contains(p.log.String(), "holding in "+id) })
			require.NoError(t, p.cmd.Process.Kill())
			<-p.exited
			require.NoError(t, os.Remove(hold))
		}
		p := launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("clerk")
		p.serves("hello", http.StatusOK)
	})
}

// TestDataG25ModuleKilledInAStep kills the module instead; the same daemon goes on.
func TestDataG25ModuleKilledInAStep(t *testing.T) {
	t.Parallel()
	report(t, proof{"G25", "kill -9 of the module within each of 6 migrations in Go, on each backend", len(clerkSteps) * 2}, nil)
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "clerk")
		for _, id := range clerkSteps {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "modules", "clerk", "hold-"+id), nil, 0o644))
		}
		p := launch(t, dir, options{env: []string{"PLATFORMD_SUPERVISOR_RESTART_MAX=100"}})
		for _, id := range clerkSteps {
			p.await("the step to be reached", func() bool { return strings.Contains(p.log.String(), "holding in "+id) })
			for _, pid := range below(t, filepath.Join(dir, "modules", "clerk")) {
				require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			}
			require.NoError(t, os.Remove(filepath.Join(dir, "modules", "clerk", "hold-"+id)))
		}
		p.awaitReady()
		p.requireMigratedOnce("clerk")
	})
}

// TestDataG25KilledAtRandom kills the core at random instants while SQL files are run, until they have been.
func TestDataG25KilledAtRandom(t *testing.T) {
	t.Parallel()
	rounds := count(1, 50)
	report(t, proof{"G25", "SQL migrations, kill -9 of the core at random instants until done, on each backend", rounds * 2}, nil)
	onEach(t, func(t *testing.T, backend string) {
		for range rounds {
			dir := newDirOn(t, backend, "scribe")
			for range 5 {
				p := launch(t, dir, options{})
				select {
				case <-time.After(50*time.Millisecond + time.Duration(rand.Int64N(int64(time.Second)))):
				case <-p.exited:
					require.Fail(t, "the daemon ended by itself")
				}
				require.NoError(t, p.cmd.Process.Kill())
				<-p.exited
			}
			p := launch(t, dir, options{})
			p.awaitReady()
			p.requireMigratedOnce("scribe")
			p.stop()
		}
	})
}

// TestDataG13HostileSQL has a live module run SQL that reaches for what is not its own, with the very credentials it was given.
// The same probes, and more, are run at the database itself in core/internal/storage.
func TestDataG13HostileSQL(t *testing.T) {
	t.Parallel()
	server(t)
	report(t, proof{"G13", "hostile SQL as a live module, on PostgreSQL", len(hostile)}, nil)
	p := launch(t, newDirOn(t, onPostgreSQL, "billing", "blog", "clerk"), options{})
	p.awaitReady()
	p.pid("clerk")
	token := p.token("blog.*")
	post := p.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"Private","body":"Not for clerks."}`)
	require.Equal(t, http.StatusCreated, post.status, post.body)
	for _, probe := range hostile {
		got := p.do(http.MethodPost, "/api/v1/clerk/sql", "", probe)
		require.Equal(t, http.StatusForbidden, got.status, "%s: %s", probe, got.body)
	}
	require.Contains(t, p.do(http.MethodGet, "/api/v1/blog/posts", token, "").body, "Not for clerks.")
	require.Equal(t, clerkSteps, p.query("clerk", "SELECT step FROM clerk_log ORDER BY step"), "its own data is its own")
}

// hostile are statements that the database must refuse a module at work.
var hostile = []string{
	"SELECT * FROM blog.blog_posts",
	"INSERT INTO blog.blog_comments (id) VALUES ('x')",
	"UPDATE blog.blog_posts SET title = 'mine'",
	"DELETE FROM blog.blog_posts",
	"TRUNCATE blog.blog_posts",
	"DROP TABLE blog.blog_posts",
	"DROP SCHEMA blog CASCADE",
	"ALTER TABLE blog.blog_posts ADD COLUMN x int",
	"LOCK TABLE blog.blog_posts",
	"CREATE TABLE blog.mine (n int)",
	"CREATE VIEW mine AS SELECT * FROM blog.blog_posts",
	"SELECT * FROM platformd.auth_tokens",
	"SELECT * FROM platformd.logins",
	"UPDATE platformd.migration_locks SET holder = 'me'",
	"SELECT * FROM platformd_ledgers.blog",
	"DELETE FROM platformd_ledgers.clerk",
	"CREATE TABLE public.mine (n int)",
	"CREATE TEMP TABLE mine (n int)",
	"CREATE TABLE mine (n int)",
	"DROP TABLE clerk_log",
	"CREATE SCHEMA mine",
	"CREATE EXTENSION pg_trgm",
	"CREATE ROLE mine",
	"CREATE DATABASE mine",
	"SELECT lo_create(0)",
	"SELECT lo_from_bytea(0, 'x')",
	"SET SESSION AUTHORIZATION postgres",
	"SET ROLE postgres",
	"ALTER ROLE CURRENT_USER SUPERUSER",
	"GRANT pg_read_all_data TO CURRENT_USER",
	"SELECT rolpassword FROM pg_authid",
	"SELECT pg_read_file('/etc/passwd')",
	"SELECT pg_ls_dir('/')",
	"COPY clerk_log TO '/tmp/clerk'",
	"COPY clerk_log FROM PROGRAM 'id'",
	"ALTER SYSTEM SET work_mem = '1GB'",
	"SELECT pg_reload_conf()",
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid()",
	"CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
	"ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT SELECT ON TABLES TO PUBLIC",
}

// TestDataG13OtherFiles has a live module reach for other files through SQLite.
func TestDataG13OtherFiles(t *testing.T) {
	t.Parallel()
	dir := newDirOn(t, onSQLite, "billing", "blog", "clerk")
	p := launch(t, dir, options{})
	p.awaitReady()
	p.pid("clerk")
	reach := []string{
		"ATTACH DATABASE '" + filepath.Join(dir, "data", "core.db") + "' AS other",
		"ATTACH DATABASE '" + filepath.Join(dir, "data", "modules", "blog", "blog.db") + "' AS other",
		"ATTACH DATABASE 'file:" + filepath.Join(dir, "data", "modules", "blog", "blog.db") + "?mode=ro&immutable=1' AS other",
		"VACUUM INTO '" + filepath.Join(dir, "data", "copy.db") + "'",
		"VACUUM INTO '" + filepath.Join(dir, "modules", "copy.db") + "'",
		"SELECT load_extension('/lib/evil.so')",
		"SELECT readfile('/etc/passwd')",
	}
	report(t, proof{"G13", "hostile SQL as a live module, on SQLite", len(reach)}, nil)
	for _, probe := range reach {
		got := p.do(http.MethodPost, "/api/v1/clerk/sql", "", probe)
		require.GreaterOrEqual(t, got.status, http.StatusBadRequest, "%s: %s", probe, got.body)
	}
	require.NoFileExists(t, filepath.Join(dir, "data", "copy.db"))
}

// TestDataLoginsEndWithTheirProcesses counts who can log in: one for each live process, also after the core was killed.
func TestDataLoginsEndWithTheirProcesses(t *testing.T) {
	t.Parallel()
	dir := newDirOn(t, onPostgreSQL, "clerk")
	source := strings.TrimPrefix(databaseOf(dir)[0], "PLATFORMD_DATABASE_URL=")
	logins := func() (n int64) {
		require.NoError(t, connect(t, source).Raw("SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname LIKE ?",
			"pd_"+installationOf(source)+"_%").Scan(&n).Error)
		return n
	}
	p := launch(t, dir, options{})
	p.awaitReady()
	require.EqualValues(t, 1, logins(), "the migrations' own is gone before the module is at work")
	require.NoError(t, syscall.Kill(p.pid("clerk"), syscall.SIGKILL))
	p.await("the module to be back", func() bool { return p.module("clerk").Restarts == 1 && p.module("clerk").State == "ready" })
	p.await("the dead process's login to be gone", func() bool { return logins() == 1 })

	require.NoError(t, p.cmd.Process.Kill())
	<-p.exited
	again := launch(t, dir, options{})
	again.awaitReady()
	again.pid("clerk")
	again.await("the killed core's logins to be gone", func() bool { return logins() == 1 })
	again.stop()
	requireNoLogins(t, source)
}
