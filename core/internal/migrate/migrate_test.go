package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/core/internal/storage"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) {
	sqlfiles.Main()
	goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit))
}

// platform is a storage, a migrator on it, and what they log.
type platform struct {
	storage  *storage.Storage
	migrator *migrate.Migrator
	log      *bytes.Buffer // read it when nothing runs
}

// newPlatform opens a storage in dir, or on PostgreSQL if there is a URL.
func newPlatform(t *testing.T, dir, url string) *platform {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: dir, URL: config.SecretURL(url)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	out := new(bytes.Buffer)
	migrator, err := migrate.New(t.Context(), store, dir, hclog.New(&hclog.LoggerOptions{Output: out, Mutex: new(sync.Mutex)}))
	require.NoError(t, err)
	return &platform{storage: store, migrator: migrator, log: out}
}

// onEach runs a test on each backend.
func onEach(t *testing.T, test func(t *testing.T, dir, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, t.TempDir(), "")
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		test(t, t.TempDir(), cluster.Database(t, pgtest.SuperuserRights))
	})
}

// module is one whose migrations are made with the SDK, as it would run in its own process.
func (p *platform) module(name string, steps ...db.Migration) migrate.Module {
	m := db.Migrations(steps...)
	module := migrate.Module{
		Name: name,
		Run: func(ctx context.Context, database storage.Database, step migrate.Step) ([]string, error) {
			return m.Run(ctx, pluginapi.Database(database), pluginapi.Step(step))
		},
	}
	for _, id := range m.IDs {
		module.Declared = append(module.Declared, ledger.Declared{ID: id})
	}
	return module
}

// up applies what is pending.
func (p *platform) up(t *testing.T, m migrate.Module) error {
	t.Helper()
	return p.migrator.Up(t.Context(), m, nil)
}

// applied is what the ledger of the module says.
func (p *platform) applied(t *testing.T, name string) string {
	t.Helper()
	rows, err := p.storage.Ledger(t.Context(), name)
	require.NoError(t, err)
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return strings.Join(ids, " ")
}

// table makes a migration that creates a table of its own, and fails if it is there already.
func table(id string) db.Migration {
	return db.Migration{ID: id, Up: func(tx *gorm.DB) error { return tx.Exec("CREATE TABLE t_" + id + " (n integer)").Error }}
}

func failing(id string, cause error) db.Migration {
	return db.Migration{ID: id, Up: func(tx *gorm.DB) error {
		return errors.Join(tx.Exec("CREATE TABLE t_"+id+" (n integer)").Error, cause)
	}}
}

func TestRunAppliesWhatIsPending(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		require.NoError(t, p.up(t, p.module("blog", table("a"), table("b"))))
		require.Equal(t, "a b", p.applied(t, "blog"))
		require.Contains(t, p.log.String(), "[INFO]  migrated: module=blog id=a ms=")
		require.Contains(t, p.log.String(), "id=b")

		p.log.Reset()
		require.NoError(t, p.up(t, p.module("blog", table("a"), table("b"))))
		require.Empty(t, p.log.String(), "nothing was to do")

		again := newPlatform(t, dir, url) // the next start of the core, with a newer binary
		require.NoError(t, again.up(t, again.module("blog", table("a"), table("b"), table("c"))))
		require.Equal(t, "a b c", again.applied(t, "blog"))
		require.NotContains(t, again.log.String(), "id=b")
		require.Empty(t, again.applied(t, "billing"))
	})
}

func TestAModuleWithoutMigrations(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir(), "")
	require.NoError(t, p.up(t, migrate.Module{Name: "hello"}))
	require.NoError(t, p.up(t, p.module("hello")))
	require.NoFileExists(t, p.storage.Module("hello").Source)
	require.Empty(t, p.log.String())
}

func TestAFailedStepStopsTheRun(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		cause := errors.New("the author's reason")
		err := p.up(t, p.module("blog", table("a"), failing("b", cause), table("c")))
		require.ErrorIs(t, err, cause)
		var step *migrate.StepError
		require.ErrorAs(t, err, &step)
		require.Equal(t, []string{"blog", "b"}, []string{step.Module, step.ID})
		require.ErrorContains(t, err, "module blog: migration b failed: ")
		require.ErrorContains(t, err, "the author's reason")
		require.ErrorContains(t, err, "(fix: correct the migration")
		require.Contains(t, p.log.String(), "[ERROR] migration failed: module=blog id=b ms=")
		require.Equal(t, "a", p.applied(t, "blog"))

		require.NoError(t, p.up(t, p.module("blog", table("a"), table("b"), table("c"))))
		require.Equal(t, "a b c", p.applied(t, "blog"), "nothing of the failed step was in the way")
	})
}

func TestAFailureThatCameByRPC(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir(), "")
	m := p.module("blog", table("a"))
	m.Run = func(context.Context, storage.Database, migrate.Step) ([]string, error) {
		return nil, status.Error(codes.Aborted, "migration a: no such table: x (fix: make it)")
	}
	require.EqualError(t, p.up(t, m), "module blog: migration a failed: no such table: x (fix: make it)")
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		steps []db.Migration
		as    any
		says  string
	}{
		"missing":        {[]db.Migration{table("a")}, new(*ledger.MissingError), "applied: c; declared: none"},
		"newer database": {nil, new(*ledger.MissingError), "the database is newer than the binary, which lacks a, c"},
		"out of order":   {[]db.Migration{table("a"), table("b"), table("c")}, new(*ledger.OrderError), "applied: c; declared: b, c"},
		"declared twice": {[]db.Migration{table("a"), table("c"), table("c")}, new(*ledger.InvalidError), "declared twice"},
		"bad id":         {[]db.Migration{table("a"), table("c"), table("x y")}, new(*ledger.InvalidError), `"x y" is not made of`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlatform(t, t.TempDir(), "")
			require.NoError(t, p.up(t, p.module("blog", table("a"), table("c"))))
			m := p.module("blog", test.steps...)
			m.Run = func(context.Context, storage.Database, migrate.Step) ([]string, error) { panic("nothing may run") }
			err := p.up(t, m)
			require.ErrorAs(t, err, test.as)
			require.ErrorContains(t, err, "module blog: ")
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
			require.Equal(t, "a c", p.applied(t, "blog"))
		})
	}
}

func TestALedgerThatCannotBeReadStopsTheRun(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir(), "")
	m := p.module("blog", table("a"))
	require.NoError(t, os.MkdirAll(filepath.Dir(p.storage.Module("blog").Source), 0o700))
	require.NoError(t, os.WriteFile(p.storage.Module("blog").Source, []byte("no database, for sure"), 0o600))
	m.Run = func(context.Context, storage.Database, migrate.Step) ([]string, error) { panic("nothing may run") }
	require.ErrorContains(t, p.up(t, m), p.storage.Module("blog").Source)
}

func TestAModuleThatOnlySaysSo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		m := p.module("blog", table("a"))
		m.Run = func(context.Context, storage.Database, migrate.Step) ([]string, error) { return nil, nil }
		require.ErrorContains(t, p.up(t, m), "module blog reported migration a as done and has not recorded it")
	})
}

func TestOneAtATimePerModule(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		var running, overlaps atomic.Int32
		m := p.module("blog", table("a"), table("b"))
		run := m.Run
		m.Run = func(ctx context.Context, d storage.Database, step migrate.Step) ([]string, error) {
			if running.Add(1) > 1 {
				overlaps.Add(1)
			}
			defer running.Add(-1)
			return run(ctx, d, step)
		}
		var all sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			all.Go(func() { errs[i] = p.up(t, m) })
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		require.Zero(t, overlaps.Load())
		require.Equal(t, 2, strings.Count(p.log.String(), "migrated: "))
	})
}

func TestModulesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		entered, leave := make(chan struct{}), make(chan struct{})
		slow := p.module("blog", table("a"))
		run := slow.Run
		slow.Run = func(ctx context.Context, d storage.Database, step migrate.Step) ([]string, error) {
			close(entered)
			<-leave
			return run(ctx, d, step)
		}
		done := make(chan error, 1)
		go func() { done <- p.up(t, slow) }()
		<-entered
		require.NoError(t, p.up(t, p.module("billing", table("a"))))

		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		err := p.migrator.Up(ctx, p.module("blog", table("a")), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "module blog is being migrated already")
		close(leave)
		require.NoError(t, <-done)
	})
}

// open opens a module's file as the module does.
func open(t *testing.T, file string) *gorm.DB {
	t.Helper()
	gdb, err := sqlite.Open(t.Context(), file, sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sqlite.Close(gdb)) })
	return gdb
}
