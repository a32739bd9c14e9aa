package daemon

import (
	"context"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/supervisor"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// lend gives an instance access to its module's data for as long as it lives.
func (d *daemon) lend(ctx context.Context, mod *supervisor.Module, inst *instance.Instance) (*modulev1.Database, error) {
	login, err := d.storage.Login(ctx, mod.Manifest.Name, storage.ReadWrite)
	if err != nil {
		return nil, err
	}
	inst.OnEnd(login.Release)
	return onTheWire(login.Database), nil
}

// migrate lets the migrator run the module's steps in its own process.
func (d *daemon) migrate(ctx context.Context, mod *supervisor.Module, inst *instance.Instance, ids []string) error {
	database := d.storage.Module(mod.Manifest.Name)
	return d.migrator.Run(ctx, migrate.Module{
		Name: mod.Manifest.Name, IDs: ids, Database: database,
		Run: func(ctx context.Context, id string) ([]string, error) {
			answer, err := inst.Migrate(ctx, &modulev1.MigrateRequest{
				Database: onTheWire(database), Id: id, Direction: modulev1.Direction_DIRECTION_UP,
			})
			return answer.GetStatements(), err
		},
	})
}

func onTheWire(d storage.Database) *modulev1.Database {
	return &modulev1.Database{
		Driver: d.Driver, Source: d.Source, TablePrefix: d.TablePrefix, MaxConns: int32(d.MaxConns), //nolint:gosec // config's limit
		RootCertificates: d.RootCertificates, Ledger: d.Ledger,
	}
}
