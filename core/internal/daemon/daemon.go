// Package daemon is the composition root: it makes every part, hands each what it needs, and starts and stops them in order.
//
// Floor 5, and the only place that may know all the others. It must not hold behaviour that a part could own.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/bridge"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/core/internal/calls"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/gateway"
	"github.com/platformd/platformd/core/internal/host"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// Options is what a run needs.
type Options struct {
	// Config is valid; the daemon does not change it.
	Config *config.Config
	// ConfigFile is where it came from; empty: defaults.
	ConfigFile string
	Version    string
	// Attach names the modules that are left to a debugger.
	Attach []string
	// Out gets the banner and the log.
	Out io.Writer
	// Host is what isolates modules; nil: nothing does.
	Host *isolation.Host
}

// Run runs the platform until ctx ends or somebody stops it over the control socket, and returns when every process is dead
// and every file closed. What had been started when something failed is stopped in reverse order. The error is an
// *AlreadyRunningError if another daemon has the data directory.
func Run(ctx context.Context, options Options) error {
	d := &daemon{options: options, config: options.Config, started: time.Now()}
	err := d.open(ctx)
	if err == nil {
		err = d.serve(ctx)
	}
	return errors.Join(err, d.close())
}

// daemon is one run. Its fields are set by open, in this order, and then only read.
type daemon struct {
	options Options
	config  *config.Config
	started time.Time
	closers []func() error

	dataDir     string
	logs        *logs.Log
	log         hclog.Logger
	storage     *storage.Storage
	database    *pulse
	permissions *authz.Registry
	audit       *audit.Service
	authz       *authz.Service
	identity    *identity.Service
	auth        *auth.Service
	cache       *cache.Service
	bus         bus.Bus
	busName     string
	letters     *deadletter.Store
	bridge      *bridge.Bridge
	becameReady chan supervisor.Status
	host        *host.Host
	metrics     *metrics
	catalog     atomic.Pointer[catalog.Catalog] // what is installed; see live
	live        *live
	packages    *packages
	registry    *instance.Registry
	contracts   *contracts.Book
	calls       *calls.Calls
	sandbox     *isolation.Sandbox // nil: modules are not isolated
	launcher    *instance.Launcher
	supervisor  *supervisor.Supervisor
	migrator    *migrate.Migrator
	gateway     *gateway.Gateway
	listener    net.Listener
	control     net.Listener
	stop        context.CancelFunc
	throttles   sync.Map    // *logs.Throttle by module: all of its processes share one
	settled     atomic.Bool // every module is ready, or known not to become so soon
}

// open makes the parts, lowest floor first.
func (d *daemon) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.openDataDir, d.openListener, d.openStorage, d.openPackages, d.openCatalog, d.openPeople, d.openCache, d.openBus, d.openHost,
		d.openCalls,
		d.openLauncher, d.openSupervisor, d.openGateway, d.openControl,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// closing registers what undoes a step; close runs them in reverse.
func (d *daemon) closing(undo func() error) { d.closers = append(d.closers, undo) }

func (d *daemon) close() error {
	var problems []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		problems = append(problems, d.closers[i]())
	}
	return errors.Join(problems...)
}

func (d *daemon) openDataDir(context.Context) error {
	dir, err := filepath.Abs(d.config.Data.Dir)
	if err != nil {
		return fmt.Errorf("find the data directory: %w", err)
	}
	if err := admin.CheckSocketPath(admin.SocketPath(dir)); err != nil {
		return err
	}
	d.dataDir = dir
	held, err := lockDataDir(dir)
	if err != nil {
		return err
	}
	d.closing(held.Close)
	d.logs, err = logs.New(logs.Options{
		Level: d.config.Log.Level, Format: d.config.Log.Format, Dir: filepath.Join(dir, "logs"),
	})
	if err != nil {
		return err
	}
	d.log = d.logs.Logger
	d.closing(d.logs.Close)
	return nil
}

// openListener comes early: a taken port is reported before anything is touched.
func (d *daemon) openListener(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", d.config.Server.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w (fix: stop what uses the address, or set server.listen or --listen)",
			d.config.Server.Listen, err)
	}
	d.listener = listener
	d.closing(func() error { _ = listener.Close(); return nil }) // the gateway has closed it if it ever served
	return nil
}

func (d *daemon) openCatalog(ctx context.Context) error {
	wishes, err := openWishes(filepath.Join(d.dataDir, "modules.json"))
	if err != nil {
		return err
	}
	d.live = newLive(wishes)
	if err := d.carryOnPurging(); err != nil {
		return err
	}
	found, err := d.scan(d.chosen(ctx))
	if err != nil {
		return err
	}
	d.catalog.Store(found)
	d.permissions = authz.NewRegistry()
	d.registry = instance.NewRegistry()
	d.contracts = contracts.NewBook()
	d.metrics = newMetrics(prometheus.NewRegistry())
	return nil
}

// scan reads what is on disk, with what is installed.
func (d *daemon) scan(installed []catalog.Installed) (*catalog.Catalog, error) {
	return catalog.Scan(catalog.Options{
		Dir: d.config.Modules.Dir, PlatformVersion: d.options.Version, Installed: installed,
		RequireSigned: d.config.Modules.RequireSigned,
	})
}

// installed is what the platform consists of at this moment. It must not be changed.
func (d *daemon) installed() *catalog.Catalog { return d.catalog.Load() }

// serve runs the platform until ctx ends, then stops it: first the gateway, so that no request finds its module gone, then
// the modules, dependents first.
func (d *daemon) serve(ctx context.Context) error {
	ctx, d.stop = context.WithCancel(ctx)
	defer d.stop()
	modules := d.resolve()
	d.supervisor.Load(modules)
	running, stopModules := context.WithCancel(context.WithoutCancel(ctx))
	defer stopModules()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		var data sync.WaitGroup
		lending, takeBack := context.WithCancel(context.WithoutCancel(running)) // outlasts the modules, which use it to the end
		data.Go(func() { d.storage.Run(lending) })
		d.supervisor.Run(running)
		takeBack()
		data.Wait()
	}()

	bridging, stopBridge := context.WithCancel(running)
	defer stopBridge()
	handled := make(chan struct{})
	go func() { defer close(handled); d.bridge.Run(bridging, bridged(modules)) }()

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return d.gateway.Serve(ctx, d.listener) })
	parts.Go(func() error { return d.announce(ctx) })
	parts.Go(func() error { d.resumePurges(ctx); return nil })
	controlling, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	controlled := d.serveControl(controlling)
	err := parts.Wait()
	d.log.Info("stopping the modules")
	stopBridge() // what is being handled is finished before its module stops
	<-handled
	stopModules()
	<-stopped
	d.live.wait()
	stopControl()
	return errors.Join(err, <-controlled)
}

// serveControl answers on the control socket until ctx ends; if it cannot, the platform stops. It outlives the gateway
// and the modules, so that a stop can be watched.
func (d *daemon) serveControl(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() {
		defer d.stop()
		ended <- admin.Serve(ctx, d.control, d.adminDeps())
	}()
	return ended
}

// announce waits until every module has settled, and says how it went.
func (d *daemon) announce(ctx context.Context) error {
	if err := d.supervisor.Settled(ctx); err != nil {
		return nil // stopped before that
	}
	d.settled.Store(true)
	return d.banner(ctx)
}
