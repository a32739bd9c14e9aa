package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/problem"
)

// order carries an operator's order out, and says what it changed, or what came of it in words for the operator.
func (d *daemon) order(ctx context.Context, module string, order admin.Order) ([]admin.ModuleChange, error) {
	if order == admin.OrderStop {
		return nil, d.outcome(module, d.supervisor.Stop(ctx, module))
	}
	return inTurn(ctx, d.live, func(ctx context.Context) ([]admin.ModuleChange, error) { return d.orderAlone(ctx, module, order) })
}

func (d *daemon) orderAlone(ctx context.Context, module string, order admin.Order) ([]admin.ModuleChange, error) {
	switch order {
	case admin.OrderEnable, admin.OrderDisable:
		return d.enable(ctx, module, order == admin.OrderEnable)
	case admin.OrderStart:
		if d.stateOf(module) == supervisor.Ready {
			return nil, nil
		}
	}
	changed, err := d.take(ctx, func(now, found *catalog.Catalog) *catalog.Catalog {
		if !slices.Contains(found.Names(), module) {
			return now // its folder is gone: only reload ends what runs, for want of it
		}
		return now.Take(found, module)
	})
	if err != nil {
		return nil, err
	}
	if err := changed.errs[module]; err != nil {
		return changed.done, d.notTaken(module, err)
	}
	if len(changed.done) > 0 { // it has been started, or renewed
		return changed.done, nil
	}
	return nil, d.orderProcesses(ctx, module, order)
}

// orderProcesses is for a module about which nothing is new.
func (d *daemon) orderProcesses(ctx context.Context, module string, order admin.Order) error {
	if !slices.Contains(d.installed().Names(), module) {
		return admin.UnknownModule(module, d.installed().Names(), "platformd module ls")
	}
	if order == admin.OrderStart {
		return d.outcome(module, d.supervisor.Start(ctx, module))
	}
	return d.outcome(module, d.supervisor.Restart(ctx, module))
}

// enable keeps the wish first: a platform that ends meanwhile starts again with it.
func (d *daemon) enable(ctx context.Context, module string, enabled bool) ([]admin.ModuleChange, error) {
	found, err := d.scan(d.chosen(ctx))
	if err != nil {
		return nil, err
	}
	if names := append(d.installed().Names(), found.Names()...); !slices.Contains(names, module) {
		return nil, admin.UnknownModule(module, names, "platformd module ls")
	}
	if err := d.wish(module, !enabled); err != nil {
		return nil, err
	}
	changed, err := d.take(ctx, func(now, found *catalog.Catalog) *catalog.Catalog { return now.Take(found, module) })
	if err != nil {
		return nil, err
	}
	if err := changed.errs[module]; err != nil {
		return changed.done, d.notTaken(module, err)
	}
	if may, why := d.installed().May(module); enabled && !may {
		return changed.done, d.notTaken(module, why)
	}
	return changed.done, nil
}

// reload takes everything over that has changed on disk.
func (d *daemon) reload(ctx context.Context) ([]admin.ModuleChange, error) {
	return inTurn(ctx, d.live, func(ctx context.Context) ([]admin.ModuleChange, error) {
		changed, err := d.take(ctx, func(_, found *catalog.Catalog) *catalog.Catalog { return found })
		if changed == nil {
			return nil, err
		}
		return changed.done, err
	})
}

// notTaken is for the operator: what is on disk, and does not run.
func (d *daemon) notTaken(module string, err error) error {
	text := err.Error()
	if now := d.installedVersion(module); now != "" && d.stateOf(module) == supervisor.Ready {
		what, fix := admin.SplitFix(text)
		text = fmt.Sprintf("%s; version %s goes on\nfix: %s", what, now, cmp.Or(fix, "platformd module crashes "+module))
	}
	return d.outcome(module, errors.New(text))
}

// outcome is what came of an order.
func (d *daemon) outcome(module string, err error) error {
	var state *supervisor.StateError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, supervisor.ErrUnknownModule):
		return refused("module %s is not run: %s\nfix: platformd module show %[1]s", module, "it was refused, is held or is disabled")
	case errors.As(err, &state):
		return refused("%s\nfix: platformd module show %s", state.Error(), module)
	case errors.Is(err, context.Canceled):
		return err // who asked is gone
	}
	what, fix := admin.SplitFix(err.Error())
	if fix == "" {
		fix = "platformd module crashes " + module
	}
	return problem.New(http.StatusBadGateway, "module_failed",
		fmt.Sprintf("module %s did not become ready: %s\nfix: %s", module, what, fix))
}

func refused(format string, args ...any) error {
	return problem.New(http.StatusConflict, "failed_precondition", fmt.Sprintf(format, args...))
}

func (d *daemon) crashes(module string) []admin.Crash {
	kept, err := d.supervisor.Crashes(module)
	if err != nil {
		return nil // it never ran
	}
	crashes := make([]admin.Crash, len(kept))
	for i, c := range kept {
		crashes[i] = admin.Crash(c)
	}
	return crashes
}
