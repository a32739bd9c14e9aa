package daemon

import (
	"context"
	"net"
	"time"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/calls"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// callTimeout is the time of a call between modules whose caller gives it none.
const callTimeout = 30 * time.Second

// openCalls makes what passes calls between modules on.
func (d *daemon) openCalls(context.Context) error {
	d.calls = calls.New(calls.Deps{
		Instances: d.registry, Manifest: d.manifest, Method: d.contracts.Method, Fits: d.contracts.Fits,
		ReadTicket: d.auth.ReadTicket, Derive: d.auth.Derive, Mint: d.auth.Mint,
		Record: func(entry audit.Entry) { d.audit.TryWrite(entry) },
		Log:    d.log.Named("calls"), Metrics: d.metrics.registry, Hold: d.config.Server.HoldTimeout, Timeout: callTimeout,
	})
	d.closing(func() error { d.calls.Wait(); return nil })
	return nil
}

// manifest returns an installed module's; nil if it is not installed.
func (d *daemon) manifest(module string) *manifest.Manifest {
	if mod := d.catalog.Get(module); mod != nil {
		return mod.Manifest
	}
	return nil
}

// serveCalls returns what serves the module's calls to others; nil if it makes none.
func (d *daemon) serveCalls(mod *supervisor.Module) func(*instance.Instance, *net.UnixListener) {
	if len(mod.Manifest.Services.Consumes) == 0 {
		return nil
	}
	return d.calls.Serve(mod.Manifest)
}
