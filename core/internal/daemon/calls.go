package daemon

import (
	"context"
	"net"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/calls"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// openCalls makes what passes calls between modules on.
func (d *daemon) openCalls(context.Context) error {
	d.calls = calls.New(calls.Deps{
		Instances: d.registry, Manifest: d.manifest, Method: d.contracts.Method, Fits: d.contracts.Fits,
		ReadTicket: d.auth.ReadTicket, Derive: d.auth.Derive, Mint: d.auth.Mint,
		Record: d.audit.TryWrite, Log: d.log.Named("calls"), Metrics: d.metrics.registry,
		Hold: d.config.Server.HoldTimeout, Timeout: d.config.Services.Timeout,
	})
	d.closing(func() error { d.calls.Wait(); return nil })
	return nil
}

// callPairs is how the calls between modules fare.
func (d *daemon) callPairs() []admin.CallPair {
	statuses := d.calls.Statuses()
	pairs := make([]admin.CallPair, len(statuses))
	for i, s := range statuses {
		pairs[i] = admin.CallPair(s)
	}
	return pairs
}

// manifest returns an installed module's; nil if it is not installed.
func (d *daemon) manifest(module string) *manifest.Manifest {
	if mod := d.installed().Get(module); mod != nil {
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
