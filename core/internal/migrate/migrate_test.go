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

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/storage"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// platform is a storage, a migrator on it, and what they log.
type platform struct {
	storage  *storage.Storage
	migrator *migrate.Migrator
	log      *bytes.Buffer // read it when nothing runs
}

func newPlatform(t *testing.T, dir string) *platform {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	out := new(bytes.Buffer)
	return &platform{storage: store, migrator: migrate.New(store, hclog.New(&hclog.LoggerOptions{Output: out})), log: out}
}

// module is one whose migrations are made with the SDK, as it would run in its own process.
func (p *platform) module(name string, steps ...db.Migration) migrate.Module {
	m := db.Migrations(steps...)
	database := p.storage.Module(name)
	return migrate.Module{
		Name: name, IDs: m.IDs, Database: database,
		Run: func(ctx context.Context, id string) ([]string, error) {
			return m.Run(ctx, pluginapi.Database(database), pluginapi.Step{ID: id})
		},
	}
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
	dir := t.TempDir()
	p := newPlatform(t, dir)
	require.NoError(t, p.migrator.Run(t.Context(), p.module("blog", table("a"), table("b"))))
	require.Equal(t, "a b", p.applied(t, "blog"))
	require.Contains(t, p.log.String(), "[INFO]  migrated: module=blog id=a ms=")
	require.Contains(t, p.log.String(), "id=b")

	p.log.Reset()
	require.NoError(t, p.migrator.Run(t.Context(), p.module("blog", table("a"), table("b"))))
	require.Empty(t, p.log.String(), "nothing was to do")

	again := newPlatform(t, dir) // the next start of the core, with a newer binary
	require.NoError(t, again.migrator.Run(t.Context(), again.module("blog", table("a"), table("b"), table("c"))))
	require.Equal(t, "a b c", again.applied(t, "blog"))
	require.NotContains(t, again.log.String(), "id=b")
	require.Empty(t, again.applied(t, "billing"))
}

func TestAModuleWithoutMigrations(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	require.NoError(t, p.migrator.Run(t.Context(), migrate.Module{Name: "hello"}))
	require.NoError(t, p.migrator.Run(t.Context(), p.module("hello")))
	require.NoFileExists(t, p.storage.Module("hello").Source)
	require.Empty(t, p.log.String())
}

func TestMigrationsNeedADatabase(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	err := p.migrator.Run(t.Context(), migrate.Module{Name: "hello", IDs: []string{"a"}})
	require.ErrorContains(t, err, "module hello has migrations and no database (fix: add `grants: { database: true }`")
}

func TestAFailedStepStopsTheRun(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	cause := errors.New("the author's reason")
	err := p.migrator.Run(t.Context(), p.module("blog", table("a"), failing("b", cause), table("c")))
	require.ErrorIs(t, err, cause)
	var step *migrate.StepError
	require.ErrorAs(t, err, &step)
	require.Equal(t, []string{"blog", "b"}, []string{step.Module, step.ID})
	require.ErrorContains(t, err, "module blog: migration b failed: ")
	require.ErrorContains(t, err, "the author's reason")
	require.ErrorContains(t, err, "(fix: correct the migration")
	require.Contains(t, p.log.String(), "[ERROR] migration failed: module=blog id=b ms=")
	require.Equal(t, "a", p.applied(t, "blog"))

	require.NoError(t, p.migrator.Run(t.Context(), p.module("blog", table("a"), table("b"), table("c"))))
	require.Equal(t, "a b c", p.applied(t, "blog"), "nothing of the failed step was in the way")
}

func TestAFailureThatCameByRPC(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	m := p.module("blog", table("a"))
	m.Run = func(context.Context, string) ([]string, error) {
		return nil, status.Error(codes.Aborted, "migration a: no such table: x (fix: make it)")
	}
	require.EqualError(t, p.migrator.Run(t.Context(), m), "module blog: migration a failed: no such table: x (fix: make it)")
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
			p := newPlatform(t, t.TempDir())
			require.NoError(t, p.migrator.Run(t.Context(), p.module("blog", table("a"), table("c"))))
			m := p.module("blog", test.steps...)
			m.Run = func(context.Context, string) ([]string, error) { panic("nothing may run") }
			err := p.migrator.Run(t.Context(), m)
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
	p := newPlatform(t, t.TempDir())
	m := p.module("blog", table("a"))
	require.NoError(t, os.MkdirAll(filepath.Dir(m.Database.Source), 0o700))
	require.NoError(t, os.WriteFile(m.Database.Source, []byte("no database, for sure"), 0o600))
	m.Run = func(context.Context, string) ([]string, error) { panic("nothing may run") }
	require.ErrorContains(t, p.migrator.Run(t.Context(), m), m.Database.Source)
}

func TestAModuleThatOnlySaysSo(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	m := p.module("blog", table("a"))
	m.Run = func(context.Context, string) ([]string, error) { return nil, nil }
	require.ErrorContains(t, p.migrator.Run(t.Context(), m), "module blog reported migration a as done and has not recorded it")
}

func TestOneAtATimePerModule(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	var running, overlaps atomic.Int32
	m := p.module("blog", table("a"), table("b"))
	run := m.Run
	m.Run = func(ctx context.Context, id string) ([]string, error) {
		if running.Add(1) > 1 {
			overlaps.Add(1)
		}
		defer running.Add(-1)
		return run(ctx, id)
	}
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() { errs[i] = p.migrator.Run(t.Context(), m) })
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Zero(t, overlaps.Load())
	require.Equal(t, 2, strings.Count(p.log.String(), "migrated: "))
}

func TestModulesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir())
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := p.module("blog", table("a"))
	run := slow.Run
	slow.Run = func(ctx context.Context, id string) ([]string, error) {
		close(entered)
		<-leave
		return run(ctx, id)
	}
	done := make(chan error, 1)
	go func() { done <- p.migrator.Run(t.Context(), slow) }()
	<-entered
	require.NoError(t, p.migrator.Run(t.Context(), p.module("billing", table("a"))))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := p.migrator.Run(ctx, p.module("blog", table("a")))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "module blog is being migrated already")
	close(leave)
	require.NoError(t, <-done)
}
