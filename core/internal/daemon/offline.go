package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
)

// Offline lets work ask about migrations where no daemon runs, with everything that a daemon would use for them, and nothing
// else: it has the data directory meanwhile, and takes no requests. The error is an *AlreadyRunningError if a daemon has it.
func Offline(ctx context.Context, options Options, work func(context.Context, admin.Migrations) error) error {
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
	for _, step := range []func(context.Context) error{d.openDataDir, d.openStorage, d.openCatalog, d.openLauncher} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *daemon) workOffline(ctx context.Context, work func(context.Context, admin.Migrations) error) error {
	lending, takeBack := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { defer close(ended); d.storage.Run(lending) }()
	defer func() { takeBack(); <-ended }()
	return work(ctx, d.migrationOrders())
}
