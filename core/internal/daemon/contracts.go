package daemon

import (
	"context"
	"slices"

	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// agree compares what a module was built to call with what those that it requires serve. It starts after them; one that has not come
// up by then is compared when it does, in verify.
func (d *daemon) agree(mod *supervisor.Module, consumed []byte) error {
	needed, err := contracts.Needs(mod.Manifest, consumed)
	if err != nil {
		return err
	}
	for _, unfit := range d.contracts.Need(needed) {
		if _, required := mod.Manifest.Requires.Modules[unfit.Provider]; required {
			return unfit
		}
		d.log.Warn("calls to an optional module will be refused", "module", unfit.Consumer, "error", unfit)
	}
	return nil
}

// verify will compare what an instance serves, once there is a connection to its services.
func (d *daemon) verify(context.Context, *supervisor.Module, *instance.Instance) error { return nil }

// provides reports whether an installed module provides a service, by its manifest.
func (d *daemon) provides(module, service string) bool {
	mod := d.catalog.Get(module)
	return mod != nil && slices.Contains(mod.Manifest.Services.Provides, service)
}
