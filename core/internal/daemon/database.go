package daemon

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/platformd/platformd/core/internal/gateway"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/storage"
)

const (
	// databaseWait is how long a start waits for a database that cannot be reached: the two may have been started together.
	databaseWait = time.Minute
	// pulseAge is for how long it is believed that the database is there, and how long it may take to say so.
	pulseAge = time.Second
)

func (d *daemon) openStorage(ctx context.Context) error {
	store, err := d.awaitDatabase(ctx)
	if err != nil {
		return err
	}
	d.storage, d.database = store, &pulse{ping: store.Ping}
	d.closing(store.Close)
	d.migrator, err = migrate.New(ctx, store, d.dataDir, d.log.Named("migrate"))
	return err
}

// storageOptions say where the data lies, as the configuration has it.
func (d *daemon) storageOptions() storage.Options {
	settings := d.config.Database
	return storage.Options{
		DataDir: d.dataDir, URL: settings.URL, MaxConns: settings.MaxConns, ModuleMaxConns: settings.ModuleMaxConns,
		Isolation: settings.Isolation, Log: d.log.Named("storage"),
	}
}

// awaitDatabase opens the storage. While it waits for a server, probes are told so on the address that the gateway will serve.
func (d *daemon) awaitDatabase(ctx context.Context) (*storage.Storage, error) {
	o := d.storageOptions()
	if o.URL == "" || d.listener == nil { // nobody to wait with
		return storage.Open(ctx, o)
	}
	var why atomic.Pointer[gateway.Readiness]
	why.Store(&gateway.Readiness{Reason: "waiting for the database"})
	o.Wait = databaseWait
	o.Waiting = func(err error) {
		if why.Load().Detail != err.Error() {
			d.log.Warn("waiting for the database", "error", err, "at_most", databaseWait.String())
		}
		why.Store(&gateway.Readiness{Reason: "waiting for the database", Detail: err.Error()})
	}
	standing, end := context.WithCancel(ctx)
	defer end()
	stood := make(chan error, 1)
	go func() {
		stood <- gateway.StandBy(standing, d.listener, d.config.Server, func() gateway.Readiness { return *why.Load() })
	}()
	store, err := storage.Open(ctx, o)
	end()
	if failed := errors.Join(err, <-stood); failed != nil {
		if store != nil {
			failed = errors.Join(failed, store.Close())
		}
		return nil, failed
	}
	return store, nil
}

// pulse tells whether the database is there, and asks it at most once per pulseAge, however many want to know.
type pulse struct {
	ping func(context.Context) error

	mu   sync.Mutex // guards what follows, and is held while the database is asked
	seen time.Time
	err  error
}

func (p *pulse) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.seen) < pulseAge {
		return p.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), pulseAge)
	defer cancel()
	p.err = p.ping(ctx)
	p.seen = time.Now()
	return p.err
}
