package daemon

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/gateway"
)

// Offline lets work ask about migrations, packages and data where no daemon runs, with everything that a daemon would use for
// them, and nothing else: it has the data directory meanwhile, and takes no requests. The error is an *AlreadyRunningError if a
// daemon has it.
func Offline(ctx context.Context, options Options, work func(context.Context, admin.Offline) error) error {
	quiet := *options.Config
	quiet.Log.Level = "warn" // who asks is told how it goes
	d := &daemon{options: options, config: &quiet, started: time.Now()}
	err := d.openOffline(ctx)
	if err == nil {
		err = d.workOffline(ctx, work)
	}
	return errors.Join(err, d.close())
}

func (d *daemon) openOffline(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.openDataDir, d.openStorage, d.openPackages, d.openCatalog, d.openLauncher, d.openRoutes,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openRoutes makes a gateway that serves nobody, and tells which routes conflict.
func (d *daemon) openRoutes(context.Context) (err error) {
	d.gateway, err = gateway.New(gateway.Deps{
		Log: d.log.Named("gateway"), Instances: d.registry, Metrics: d.metrics.registry, Server: d.config.Server,
	})
	return err
}

func (d *daemon) workOffline(ctx context.Context, work func(context.Context, admin.Offline) error) error {
	lending, takeBack := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { defer close(ended); d.storage.Run(lending) }()
	defer func() { takeBack(); <-ended }()
	return work(ctx, admin.Offline{Migrations: d.migrationOrders(), Packages: d.packageOrders(), Data: d.offlineData()})
}

// openForData opens what knows of modules' data when that is asked for: migrations and installations need neither a broker nor a
// cache. A daemon that runs has done so.
func (d *daemon) openForData(ctx context.Context) error {
	if d.bus != nil {
		return nil
	}
	for _, step := range []func(context.Context) error{d.openPeople, d.openCache, d.openBus} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) offlineData() admin.Data {
	data := d.dataOrders()
	return admin.Data{
		Holdings: func(ctx context.Context, module string) ([]admin.Holding, error) {
			if err := d.openForData(ctx); err != nil {
				return nil, err
			}
			return data.Holdings(ctx, module)
		},
		Export: func(ctx context.Context, module string, to io.Writer) error {
			if err := d.openForData(ctx); err != nil {
				return err
			}
			return data.Export(ctx, module, to)
		},
		Purge: func(ctx context.Context, module string, progress func(admin.PurgeStep)) error {
			if err := d.openForData(ctx); err != nil {
				return err
			}
			return data.Purge(ctx, module, progress)
		},
	}
}
