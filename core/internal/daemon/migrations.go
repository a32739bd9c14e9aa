package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/nearest"
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
	return slices.DeleteFunc(slices.Clone(d.catalog.Modules), func(mod *catalog.Module) bool { return mod.Manifest.Migrations == "" }), nil
}

func (d *daemon) migratable(name string) (*catalog.Module, error) {
	mod := d.catalog.Get(name)
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
	for _, mod := range d.catalog.Modules {
		names = append(names, mod.Manifest.Name)
	}
	for _, refusal := range d.catalog.Problems {
		if refusal.Name == name {
			return refused("module %s was refused: %v", name, refusal.Err)
		}
	}
	text := fmt.Sprintf("there is no module %q", name)
	if near := nearest.Names(name, names); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return problem.New(http.StatusNotFound, "not_found", text+"\nfix: platformd module ls")
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

func (d *daemon) migrationPlan(ctx context.Context, name string) (plan []admin.PlannedMigration, err error) {
	mod, err := d.migratable(name)
	if err != nil {
		return nil, err
	}
	err = d.withMigrations(ctx, mod, func(m migrate.Module) error {
		steps, err := d.migrator.Plan(ctx, m)
		for _, step := range steps {
			plan = append(plan, admin.PlannedMigration(step))
		}
		return err
	})
	return plan, asProblem(err)
}

// withMigrations lets work use a module's migrations. Those in Go need a process of the module: one that is not initialised, takes
// no requests, and ends with the work.
func (d *daemon) withMigrations(ctx context.Context, mod *catalog.Module, work func(migrate.Module) error) error {
	resolved, err := d.resolveModule(mod)
	if err != nil {
		return err
	}
	if mod.Manifest.Migrations == manifest.MigrationsSQL {
		m, err := d.sqlMigrations(resolved)
		if err != nil {
			return err
		}
		return work(m)
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
func (d *daemon) runMigrations(ctx context.Context, name string, order admin.MigrationOrder, progress func(admin.MigrationEvent)) error {
	mod, err := d.migratable(name)
	if err != nil {
		return err
	}
	before := d.stateOf(name)
	if order.Direction != admin.MigrateUp && before != "" && before != supervisor.Stopped {
		if err := d.order(ctx, name, admin.OrderStop); err != nil {
			return err
		}
	}
	err = d.withMigrations(ctx, mod, func(m migrate.Module) error {
		tell := func(e migrate.Event) {
			progress(admin.MigrationEvent{ID: e.ID, Down: e.Down, Done: e.Done, Millis: e.Millis, Number: e.Number, Of: e.Of})
		}
		switch order.Direction {
		case admin.MigrateDown:
			return d.migrator.Down(ctx, m, order.Steps, tell)
		case admin.MigrateRedo:
			return d.migrator.Redo(ctx, m, tell)
		}
		return d.migrator.Up(ctx, m, tell)
	})
	if err == nil && d.startsAfter(order.Direction, before) {
		return d.order(ctx, name, admin.OrderStart)
	}
	return asProblem(err)
}

// startsAfter: what did not run for want of its migrations does now, and what ran before a redo does again. After a down a start
// would only apply the steps once more.
func (d *daemon) startsAfter(direction string, before supervisor.State) bool {
	if d.supervisor == nil {
		return false
	}
	switch direction {
	case admin.MigrateUp:
		return before == supervisor.Failed
	case admin.MigrateRedo:
		return before == supervisor.Ready
	}
	return false
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
