package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/wire"
)

// agree compares what a module was built to call with what those that it requires serve. It starts after them; one that has not
// come up by then is compared when it does, in verify.
func (d *daemon) agree(mod *supervisor.Module, consumed []byte) (file func(), err error) {
	needed, err := contracts.Needs(mod.Manifest, consumed)
	if err != nil {
		return nil, err
	}
	for _, unfit := range d.contracts.TryNeed(needed) {
		if _, required := mod.Manifest.Requires.Modules[unfit.Provider]; required {
			return nil, unfit
		}
	}
	return func() {
		for _, unfit := range d.contracts.Need(needed) {
			d.log.Warn("calls between two modules will be refused", "module", unfit.Consumer, "error", unfit)
		}
	}, nil
}

// verify compares what an instance serves with its manifest, and with what the modules that run were built to call: calls that do
// not fit are refused from when it takes requests. A successor must fit whoever cannot do without the module.
func (d *daemon) verify(
	ctx context.Context, mod *supervisor.Module, inst *instance.Instance, successor bool,
) (file func(), err error) {
	m := mod.Manifest
	if len(m.Services.Provides) == 0 {
		return func() {}, nil
	}
	provided, err := readServices(ctx, inst)
	if err != nil {
		return nil, err
	}
	if err := m.CompareServices(provided.Services()); err != nil {
		return nil, err
	}
	for _, unfit := range d.contracts.TryProvide(m.Name, provided) {
		if successor && d.contracts.Requires(unfit) {
			return nil, unfit
		}
	}
	if err := d.calls.Attach(ctx, inst); err != nil {
		return nil, fmt.Errorf("connect to the module's services: %w", err)
	}
	return func() {
		for _, unfit := range d.contracts.Provide(m.Name, provided) {
			d.log.Error("calls between two modules will be refused", "module", unfit.Consumer, "error", unfit)
		}
	}, nil
}

// readServices asks an instance what it serves, on a connection of its own.
func readServices(ctx context.Context, inst *instance.Instance) (provided *contracts.Provided, err error) {
	conn, err := grpc.NewClient("passthrough:///module",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return inst.DialServices(ctx) }))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return contracts.Read(metadata.AppendToOutgoingContext(ctx, wire.MetadataSecret, inst.ServicesSecret()), conn)
}

// provides reports whether an installed module provides a service, by its manifest.
func (d *daemon) provides(module, service string) bool {
	mod := d.installed().Get(module)
	return mod != nil && slices.Contains(mod.Manifest.Services.Provides, service)
}
