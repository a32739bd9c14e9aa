package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// migrationOrders is what operators can ask about migrations, with or without modules that run.
func (d *daemon) migrationOrders() admin.Migrations {
	return admin.Migrations{Status: d.migrationStatus, Plan: d.migrationPlan, Run: d.runMigrations}
}

func (d *daemon) migrationStatus(ctx context.Context, name string) ([]admin.ModuleMigrations, error) {
	modules, err := d.migrating(name)
	if err != nil {
		return nil, err
	}
	var all []admin.ModuleMigrations
	for _, mod := range modules {
		all = append(all, d.migrationsOf(ctx, mod))
	}
	return all, nil
}

// migrating returns the module of that name, or all that have migrations.
func (d *daemon) migrating(name string) ([]*catalog.Module, error) {
	if name != "" {
		mod, err := d.migratable(name)
		return []*catalog.Module{mod}, err
	}
	without := func(mod *catalog.Module) bool { return mod.Manifest.Migrations == "" }
	return slices.DeleteFunc(slices.Clone(d.installed().Modules), without), nil
}

func (d *daemon) migratable(name string) (*catalog.Module, error) {
	mod := d.installed().Get(name)
	switch {
	case mod == nil:
		return nil, d.unknown(name)
	case mod.Manifest.Migrations == "":
		return nil, refused("module %s has no migrations\nfix: choose one that `platformd migrate status` lists", name)
	}
	return mod, nil
}

// unknown says which module was probably meant, or why it was refused.
func (d *daemon) unknown(name string) error {
	var names []string
	for _, mod := range d.installed().Modules {
		names = append(names, mod.Manifest.Name)
	}
	for _, refusal := range d.installed().Problems {
		if refusal.Name == name {
			return refused("module %s was refused: %v", name, refusal.Err)
		}
	}
	return admin.UnknownModule(name, names, "platformd migrate status")
}

// migrationsOf describes a module; what is wrong with one is no reason to show nothing of the others.
func (d *daemon) migrationsOf(ctx context.Context, mod *catalog.Module) admin.ModuleMigrations {
	view := admin.ModuleMigrations{Module: mod.Manifest.Name, Steps: []admin.Migration{}}
	err := d.withMigrations(ctx, mod, func(m migrate.Module) error {
		steps, wrong, err := d.migrator.Status(ctx, m)
		for _, step := range steps {
			view.Steps = append(view.Steps, admin.Migration{
				ID: step.ID, State: string(step.State), AppliedAt: step.AppliedAt, Millis: step.Millis, Checksum: step.Checksum,
			})
		}
		return errors.Join(wrong, err)
	})
	if err != nil {
		view.Problem, view.Fix = admin.SplitFix(err.Error())
	}
	return view
}

func (d *daemon) migrationPlan(ctx context.Context, name string) ([]admin.ModulePlan, error) {
	modules, err := d.migrating(name)
	if err != nil {
		return nil, err
	}
	var all []admin.ModulePlan
	for _, mod := range modules {
		all = append(all, d.planOf(ctx, mod))
	}
	return all, nil
}

func (d *daemon) planOf(ctx context.Context, mod *catalog.Module) admin.ModulePlan {
	plan := admin.ModulePlan{Module: mod.Manifest.Name, Steps: []admin.PlannedMigration{}}
	err := d.withMigrations(ctx, mod, func(m migrate.Module) error {
		steps, err := d.migrator.Plan(ctx, m)
		for _, step := range steps {
			plan.Steps = append(plan.Steps, admin.PlannedMigration{ID: step.ID, Statements: append([]string{}, step.Statements...)})
		}
		return err
	})
	if err != nil {
		plan.Problem, plan.Fix = admin.SplitFix(err.Error())
	}
	return plan
}

// withMigrations lets work use a module's migrations. Those in Go need a process of the module: one that is not initialised,
// takes no requests, and ends with the work.
func (d *daemon) withMigrations(ctx context.Context, mod *catalog.Module, work func(migrate.Module) error) error {
	resolved, err := d.resolveModule(mod)
	if err != nil {
		return err
	}
	if mod.Manifest.Migrations == manifest.MigrationsSQL {
		return work(d.sqlMigrations(resolved))
	}
	inst, err := d.launcher.Launch(ctx, supervisor.Spec(resolved, d.output))
	if err != nil {
		return fmt.Errorf("launch module %s for its migrations: %w", mod.Manifest.Name, err)
	}
	defer inst.Kill()
	ids, err := declaredBy(ctx, inst, mod)
	if err != nil {
		return err
	}
	m, err := d.migrations(resolved, inst, ids)
	if err != nil {
		return err
	}
	return work(m)
}

// declaredBy asks a process for the ids of its migrations.
func declaredBy(ctx context.Context, inst *instance.Instance, mod *catalog.Module) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(mod.Manifest.Runtime.StartTimeout))
	defer cancel()
	described, err := inst.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask module %s for its migrations: %w", mod.Manifest.Name, err)
	}
	offer := manifest.Offer{Routes: described.GetRoutes(), Mount: described.GetMount(), Migrations: described.GetMigrations()}
	return described.GetMigrations(), mod.Manifest.Compare(offer)
}

// runMigrations has the module stopped while its tables are changed back: a process at work would meet what it does not know.
func (d *daemon) runMigrations(
	ctx context.Context, name string, order admin.MigrationOrder, progress func(admin.MigrationEvent),
) error {
	mod, err := d.migratable(name)
	if err != nil {
		return err
	}
	before := d.stateOf(name)
	if order.Direction != admin.MigrateUp && runs(before) {
		if _, err := d.order(ctx, name, admin.OrderStop); err != nil {
			return err
		}
	}
	changed := false
	err = d.withMigrations(ctx, mod, func(m migrate.Module) error {
		return d.carryOut(ctx, m, order, func(e migrate.Event) {
			changed = changed || e.Done
			progress(admin.MigrationEvent{ID: e.ID, Down: e.Down, Done: e.Done, Millis: e.Millis, Number: e.Number, Of: e.Of})
		})
	})
	if startsAfter(order.Direction, before, changed, err) {
		if _, started := d.order(ctx, name, admin.OrderStart); err == nil {
			return started
		}
	}
	if err != nil && changed && runs(before) && order.Direction != admin.MigrateUp {
		err = fmt.Errorf("%w; the module stays stopped", err)
	}
	return asProblem(err)
}

func (d *daemon) carryOut(ctx context.Context, m migrate.Module, order admin.MigrationOrder, tell func(migrate.Event)) error {
	switch order.Direction {
	case admin.MigrateDown:
		return d.migrator.Down(ctx, m, order.Steps, tell)
	case admin.MigrateRedo:
		return d.migrator.Redo(ctx, m, tell)
	}
	return d.migrator.Up(ctx, m, tell)
}

// runs says whether a module in this state has processes, or is about to have some.
func runs(state supervisor.State) bool {
	return state != "" && state != supervisor.Stopped && state != supervisor.Held
}

// startsAfter: what did not run for want of its migrations does now, and what ran before a redo does again, as does what was
// stopped for nothing. After a down a start would only apply the steps once more.
func startsAfter(direction string, before supervisor.State, changed bool, err error) bool {
	switch {
	case direction == admin.MigrateUp:
		return before == supervisor.Failed && err == nil
	case !changed:
		return runs(before)
	}
	return direction == admin.MigrateRedo && runs(before) && err == nil
}

// stateOf is "" for a module that the supervisor does not run.
func (d *daemon) stateOf(name string) supervisor.State {
	if d.supervisor == nil {
		return ""
	}
	for _, status := range d.supervisor.Statuses() {
		if status.Name == name {
			return status.State
		}
	}
	return ""
}

// asProblem lets the operator, who may see everything, see what went wrong.
func asProblem(err error) error {
	var public *problem.Problem
	if err == nil || errors.As(err, &public) || errors.Is(err, context.Canceled) {
		return err
	}
	what, fix := admin.SplitFix(err.Error())
	return problem.New(http.StatusConflict, "failed_precondition", what+"\nfix: "+cmp.Or(fix, "see `platformd migrate status`"))
}
