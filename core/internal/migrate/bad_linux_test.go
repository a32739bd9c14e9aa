package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// files are those of a module, by their names.
type files map[string]string

// goodFiles are what has been applied before something goes wrong.
func goodFiles() files {
	return files{
		"0001_a.up.sql": "CREATE TABLE blog_a (n integer);\nINSERT INTO blog_a VALUES (7);\n",
		"0003_c.up.sql": "CREATE TABLE blog_c (n integer);\n",
	}
}

// and adds files, or replaces them; an empty one is removed.
func (f files) and(others files) files {
	all := maps.Clone(f)
	maps.Copy(all, others)
	maps.DeleteFunc(all, func(_, content string) bool { return content == "" })
	return all
}

// blog is a module with migrations in SQL, as the daemon has them run: in a process of its own.
type blog struct {
	*platform
	dataDir, url string
	spec         instance.Spec
	launcher     *instance.Launcher
	undo         func() // what was done to the surroundings
	says         string // what an error must hold because of it
}

func newBlog(t *testing.T, dir, url string) *blog {
	t.Helper()
	spec := instancetest.Spec(t, "blog")
	return &blog{newPlatform(t, dir, url), dir, url, spec, instancetest.Launcher(t), func() {}, ""}
}

func (b *blog) dialect() string { return b.storage.Module("blog").Driver }

func (b *blog) file() string { return b.storage.Module("blog").Source }

// install lays out the module's files, and no others.
func (b *blog) install(t *testing.T, all files) {
	t.Helper()
	folder := filepath.Join(b.spec.Dir, sqlfiles.Folder)
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, os.Mkdir(folder, 0o755))
	for name, content := range all {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644))
	}
}

// start does what the start of the module does.
func (b *blog) start(ctx context.Context) error {
	all, err := sqlfiles.Load(b.spec.Dir, b.dialect())
	if err != nil {
		return err
	}
	return b.migrator.Up(ctx, migrate.Module{
		Name: "blog", Declared: sqlfiles.Declared(all),
		Statements: func(id string) []string { return sqlfiles.Find(all, id).Up },
		Run: func(ctx context.Context, database storage.Database, step migrate.Step) ([]string, error) {
			order, err := sqlfiles.NewOrder(database, all, step.ID, step.Down)
			if err != nil {
				return nil, err
			}
			input, err := json.Marshal(order)
			if err != nil {
				return nil, err
			}
			answer, err := b.launcher.RunOwn(ctx, b.spec, []string{sqlfiles.Command}, input)
			if err != nil {
				return nil, err
			}
			return sqlfiles.ReadAnswer(answer)
		},
	}, nil)
}

// state is all that a migration could have changed.
type state struct {
	Rows   []ledger.Row
	Tables []string
	Data   []int
}

func (b *blog) state(t *testing.T) (s state) {
	t.Helper()
	var err error
	s.Rows, err = b.storage.Ledger(t.Context(), "blog")
	require.NoError(t, err)
	login, err := b.storage.Login(t.Context(), "blog", storage.Owner)
	require.NoError(t, err)
	db, err := backend.Open(t.Context(), login.Database, backend.Options{})
	require.NoError(t, err)
	s.Tables, err = db.Migrator().GetTables()
	require.NoError(t, err)
	slices.Sort(s.Tables)
	require.NoError(t, db.Raw("SELECT n FROM blog_a").Scan(&s.Data).Error)
	require.NoError(t, backend.Close(db))
	require.NoError(t, login.Close(t.Context()))
	return s
}

// badMigration is a row of "Migrations" among the bad inputs.
type badMigration struct {
	before func(t *testing.T, b *blog) // the first start
	files  files                       // what is different afterwards
	spoil  func(t *testing.T, b *blog) // what happens to the surroundings; it may set undo
	during func(t *testing.T, b *blog) // what happens meanwhile
	is     func(err error) bool        // nil: a *migrate.StepError
	says   []string
}

func isA[T error](err error) bool {
	_, is := errors.AsType[T](err)
	return is
}

func badMigrations() map[string]badMigration {
	return map[string]badMigration{
		"edited": {
			files: files{"0001_a.up.sql": "CREATE TABLE blog_a (n integer);\nINSERT INTO blog_a VALUES (8);\n"},
			is:    isA[*ledger.DriftError],
			says: []string{
				"migration 0001_a was edited after it had been applied (checksum then ",
				`statement 2 was "INSERT INTO blog_a VALUES (7)", is "INSERT INTO blog_a VALUES (8)"`,
			},
		},
		"missing": {
			files: files{"0001_a.up.sql": ""}, is: isA[*ledger.MissingError],
			says: []string{"which lacks 0001_a", "applied: 0001_a, 0003_c; declared: 0003_c"},
		},
		"newer than the binary": {
			files: files{"0003_c.up.sql": ""}, is: isA[*ledger.MissingError],
			says: []string{"the database is newer than the binary, which lacks 0003_c", "applied: 0003_c; declared: none"},
		},
		"out of order": {
			files: files{"0002_b.up.sql": "CREATE TABLE blog_b (n integer);"}, is: isA[*ledger.OrderError],
			says: []string{"0002_b is declared where the database has 0003_c", "applied: 0003_c; declared: 0002_b, 0003_c"},
		},
		"touches another schema": {
			before: withBilling,
			files:  files{"0004_d.up.sql": "CREATE TABLE blog_d (n integer);\nDROP TABLE billing.t_1;\n"},
			says:   []string{"migration 0004_d failed: statement 2 of 2: ", "(DROP TABLE billing.t_1)"},
		},
		"statement 3 of 5": {
			files: files{"0004_d.up.sql": "CREATE TABLE blog_1 (n int);\nCREATE TABLE blog_2 (n int);\nCREATE TABEL blog_3 (n int);\n" +
				"CREATE TABLE blog_4 (n int);\nCREATE TABLE blog_5 (n int);\n"},
			says: []string{"migration 0004_d failed: statement 3 of 5: ", "syntax error", "(CREATE TABEL blog_3 (n int))"},
		},
		"lock held": {
			files: files{"0004_d.up.sql": "CREATE TABLE blog_d (n integer);"}, spoil: lockedByAnother, is: isA[*migrate.LockedError],
			says: []string{"is being migrated by elsewhere, pid 7, data directory /far since "},
		},
		"kill -9": {
			files: files{
				"0004_d.up.sqlite.sql": "CREATE TABLE blog_d (n integer, pad text);\nINSERT INTO blog_d WITH RECURSIVE n(x) AS " +
					"(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, hex(zeroblob(500)) FROM n;\n",
				"0004_d.up.postgres.sql": "CREATE TABLE blog_d (n integer);\nINSERT INTO blog_d VALUES (1);\nSELECT pg_sleep(600);\n",
			},
			during: killInTheMiddle,
			says:   []string{"migration 0004_d failed: ", "the process ended: signal killed"},
		},
		"read-only": {
			before: ownDisk, files: files{"0004_d.up.sql": "CREATE TABLE blog_d (n integer);"}, spoil: readOnly,
			is: func(err error) bool { return err != nil },
		},
		"full disk": {
			before: ownDisk, files: files{
				"0004_d.up.sqlite.sql": "CREATE TABLE blog_d (n integer, pad text);\nINSERT INTO blog_d WITH RECURSIVE n(x) AS " +
					"(SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10000) SELECT x, hex(zeroblob(500)) FROM n;\n",
				"0004_d.up.postgres.sql": "CREATE TABLE blog_d (n integer);\n" + // the server's own would be the machine's
					"DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$;\n",
			},
			says: []string{"migration 0004_d failed: statement 2 of 2: ", "disk is full (fix: free some space"},
		},
	}
}

// TestBadMigrations has each bad input named, with what to do, and nothing changed; afterwards all is as before it.
func TestBadMigrations(t *testing.T) {
	t.Parallel()
	require.Equal(t, 30*time.Second, migrate.Patience)
	for name, bad := range badMigrations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, dir, url string) {
				b := newBlog(t, dir, url)
				if bad.before != nil {
					bad.before(t, b)
				}
				b.install(t, goodFiles())
				require.NoError(t, b.start(t.Context()))
				bad.check(t, b)
			})
		})
	}
}

func (bad badMigration) check(t *testing.T, b *blog) {
	t.Helper()
	before := b.state(t)
	require.Equal(t, []int{7}, before.Data)
	b.install(t, goodFiles().and(bad.files))
	if bad.spoil != nil {
		bad.spoil(t, b)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.start(t.Context()) }()
	if bad.during != nil {
		bad.during(t, b)
	}
	err := <-ended
	b.undo()
	is := bad.is
	if is == nil {
		is = isA[*migrate.StepError]
	}
	require.True(t, is(err), "%T: %v", err, err)
	for _, says := range append(bad.says, b.says, "module blog", "(fix: ") {
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, before, b.state(t), "nothing was changed")
	b.install(t, goodFiles().and(files{"0004_d.up.sql": "CREATE TABLE blog_d (n integer);"}))
	require.NoError(t, b.start(t.Context()))
	require.Equal(t, "0001_a 0003_c 0004_d", b.applied(t, "blog"))
}

// withBilling makes another module's data.
func withBilling(t *testing.T, b *blog) {
	t.Helper()
	require.NoError(t, b.up(t, b.module("billing", table("1"))))
}

func lockedByAnother(t *testing.T, b *blog) {
	t.Helper()
	b.migrator.Hurry(300*time.Millisecond, time.Minute, time.Minute)
	require.NoError(t, b.storage.Core().Exec("INSERT INTO migration_locks (module, token, daemon, holder, since, expires_at) "+
		"VALUES ('blog', 'x', 'y', 'elsewhere, pid 7, data directory /far', ?, ?)", time.Now(), time.Now().Add(time.Hour)).Error)
	b.undo = func() {
		require.NoError(t, b.storage.Core().Exec("DELETE FROM migration_locks").Error)
	}
}

func killInTheMiddle(t *testing.T, b *blog) {
	t.Helper()
	require.Eventually(t, func() bool { return b.hasWritten(t) }, time.Minute, 5*time.Millisecond)
	var found []int
	require.Eventually(t, func() bool { found = processesIn(t, b.spec.Dir); return len(found) > 0 }, time.Minute, 5*time.Millisecond)
	require.Len(t, found, 1)
	require.NoError(t, syscall.Kill(found[0], syscall.SIGKILL))
}

// processesIn finds the processes that work in a folder.
func processesIn(t *testing.T, dir string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	for _, link := range all {
		if at, err := os.Readlink(link); err != nil || at != dir {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// hasWritten says whether the step has come to the statement that does not end.
func (b *blog) hasWritten(t *testing.T) (there bool) {
	t.Helper()
	if b.dialect() == step.SQLite {
		info, err := os.Stat(b.file() + "-wal")
		return err == nil && info.Size() > 4<<20
	}
	require.NoError(t, b.storage.Core().Raw(
		"SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' "+
			"AND pid <> pg_backend_pid() AND datname = current_database()").
		Scan(&there).Error)
	return there
}

// ownDisk gives the module a small disk of its own.
func ownDisk(t *testing.T, b *blog) {
	t.Helper()
	if b.dialect() == step.PostgreSQL {
		return
	}
	dir := filepath.Dir(b.file())
	require.NoError(t, os.MkdirAll(dir, 0o700))
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=512k"); err != nil {
		t.Skip("a disk of our own cannot be mounted: ", err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
}

// readOnly makes the module's disk one, or the server what a standby is to everybody but the core.
func readOnly(t *testing.T, b *blog) {
	t.Helper()
	if b.dialect() == step.SQLite {
		remount := func(flags uintptr) {
			require.NoError(t, unix.Mount("", filepath.Dir(b.file()), "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|flags, "size=512k"))
		}
		remount(unix.MS_RDONLY)
		b.says = b.file() + ": the database file cannot be opened (fix: let this user read and write the file and its folder)"
		b.undo = func() { remount(0) }
		return
	}
	b.says = "the database may not be written (fix: connect to the primary server)"
	source, err := url.Parse(b.url)
	require.NoError(t, err)
	database := strings.TrimPrefix(source.Path, "/")
	run := func(statements ...string) {
		for _, statement := range statements {
			require.NoError(t, cluster.Admin(t).Exec(statement).Error)
		}
	}
	run("ALTER ROLE "+source.User.Username()+" IN DATABASE "+database+" SET default_transaction_read_only = off",
		"ALTER DATABASE "+database+" SET default_transaction_read_only = on")
	b.undo = func() { run("ALTER DATABASE " + database + " RESET default_transaction_read_only") }
}

// TestBadMigrationsOfARemovedModule: its data is kept until somebody purges it, and is there again when it comes back.
func TestBadMigrationsOfARemovedModule(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		b := newBlog(t, dir, url)
		b.install(t, goodFiles())
		require.NoError(t, b.start(t.Context()))
		before := b.state(t)

		without := newPlatform(t, dir, url) // the next start, and no blog
		require.NoError(t, without.up(t, without.module("billing", table("1"))))
		statuses, problem, err := without.migrator.Status(t.Context(), migrate.Module{Name: "blog"})
		require.NoError(t, err)
		require.ErrorContains(t, problem, "lacks 0001_a, 0003_c")
		require.Len(t, statuses, 2)

		back := &blog{newPlatform(t, dir, url), dir, url, b.spec, b.launcher, nil, ""}
		require.NoError(t, back.start(t.Context()))
		require.Equal(t, before, back.state(t))
		require.NotContains(t, back.log.String(), "migrated", "nothing was run again")
	})
}
