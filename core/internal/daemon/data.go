package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/manifest"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// lend gives an instance access to its module's data for as long as it lives.
func (d *daemon) lend(ctx context.Context, mod *supervisor.Module, inst *instance.Instance) (*modulev1.Database, error) {
	login, err := d.storage.Login(ctx, mod.Manifest.Name, storage.ReadWrite)
	if err != nil {
		return nil, notItsFault(err)
	}
	inst.OnEnd(login.Release)
	login.Database.Events = mod.Manifest.Events.Any()
	return onTheWire(login.Database), nil
}

// migrate applies what is pending of a module that is about to start, and makes what else it needs in its database.
func (d *daemon) migrate(ctx context.Context, mod *supervisor.Module, inst *instance.Instance, ids []string) error {
	m, err := d.migrations(mod, inst, ids)
	if err != nil {
		return err
	}
	beyond := d.live.declare(mod, m.Declared)
	if now := d.installed().Get(m.Name); now != nil && now.Revision == mod.Revision {
		m.Beyond = beyond // it was here first, and is started again; an older version that comes is refused as ever
	}
	if err := d.migrateUp(ctx, m); err != nil {
		return notItsFault(err)
	}
	return notItsFault(d.makeOutbox(ctx, mod))
}

// migrateUp says that there is no way back before the first step, and does not take it if that cannot be said.
func (d *daemon) migrateUp(ctx context.Context, m migrate.Module) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := d.migrator.Up(ctx, m, func(e migrate.Event) {
		if e.Done {
			return
		}
		if err := d.live.reached(m.Name); err != nil {
			cancel(err)
		}
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// migrations is how a module migrates: in its own process, or by its SQL files. inst and ids are of the first kind only.
func (d *daemon) migrations(mod *supervisor.Module, inst *instance.Instance, ids []string) (migrate.Module, error) {
	if mod.Manifest.Migrations == manifest.MigrationsSQL {
		return d.sqlMigrations(mod), nil
	}
	m := migrate.Module{Name: mod.Manifest.Name}
	for _, id := range ids {
		m.Declared = append(m.Declared, ledger.Declared{ID: id})
	}
	m.Run = func(ctx context.Context, database storage.Database, step migrate.Step) ([]string, error) {
		direction := modulev1.Direction_DIRECTION_UP
		if step.Down {
			direction = modulev1.Direction_DIRECTION_DOWN
		}
		answer, err := inst.Migrate(ctx, &modulev1.MigrateRequest{
			Database: onTheWire(database), Id: step.ID, Direction: direction, DryRun: step.DryRun,
		})
		return answer.GetStatements(), err
	}
	return m, nil
}

// sqlMigrations has the files run by our own binary in the module's place.
func (d *daemon) sqlMigrations(mod *supervisor.Module) migrate.Module {
	files := mod.SQL
	return migrate.Module{
		Name: mod.Manifest.Name, Declared: sqlfiles.Declared(files),
		Statements: func(id string) []string { return sqlfiles.Find(files, id).Up },
		Run: func(ctx context.Context, database storage.Database, step migrate.Step) ([]string, error) {
			order, err := sqlfiles.NewOrder(database, files, step.ID, step.Down)
			if err != nil || step.DryRun {
				return order.Statements, err
			}
			return d.runSQL(ctx, mod, order)
		},
	}
}

func (d *daemon) runSQL(ctx context.Context, mod *supervisor.Module, order sqlfiles.Order) ([]string, error) {
	input, err := json.Marshal(order)
	if err != nil {
		return nil, fmt.Errorf("encode the migration: %w", err)
	}
	answer, err := d.launcher.RunOwn(ctx, supervisor.Spec(mod, d.output), []string{sqlfiles.Command}, input)
	if err != nil {
		return nil, fmt.Errorf("run the migration: %w", err)
	}
	return sqlfiles.ReadAnswer(answer)
}

// notItsFault marks what went wrong for want of the database, or because somebody else migrates the module: that is tried again,
// and no crash of the module's.
func notItsFault(err error) error {
	var locked *migrate.LockedError
	for _, passing := range []error{postgres.ErrUnavailable, postgres.ErrTooMany} {
		if errors.Is(err, passing) {
			return &instance.HostError{Err: err}
		}
	}
	if errors.As(err, &locked) || status.Code(err) == codes.Unavailable {
		return &instance.HostError{Err: err}
	}
	return err
}

func onTheWire(d storage.Database) *modulev1.Database {
	return &modulev1.Database{
		Driver: d.Driver, Source: d.Source, TablePrefix: d.TablePrefix, MaxConns: int32(d.MaxConns), //nolint:gosec // config's limit
		RootCertificates: d.RootCertificates, Ledger: d.Ledger,
		Events: d.Events,
	}
}
