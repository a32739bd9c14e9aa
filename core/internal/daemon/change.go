package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// change is one change of the set of modules, on its way.
type change struct {
	*daemon
	plan *catalog.Change
	done []admin.ModuleChange
	errs map[string]error // of the modules that did not become what they were to
}

// take has the platform become what choose makes of what it is and what is on disk. It returns what that changed, and what did
// not become what it was to, in words for the operator.
func (d *daemon) take(ctx context.Context, choose func(now, found *catalog.Catalog) *catalog.Catalog) (*change, error) {
	found, err := d.scan(d.chosen(ctx))
	if err != nil {
		return nil, err
	}
	return d.takeFound(ctx, found, choose)
}

// takeFound is take for what has been found on disk.
func (d *daemon) takeFound(
	ctx context.Context, found *catalog.Catalog, choose func(now, found *catalog.Catalog) *catalog.Catalog,
) (*change, error) {
	c := &change{daemon: d, errs: map[string]error{}}
	d.survey(found)
	now := d.installed()
	c.plan = catalog.Plan(now, choose(now, found), func(why error) bool { return errors.Is(why, errDisabled) })
	for _, refusal := range c.plan.Refused {
		c.report(refusal.Name, "", versionIn(found, refusal.Name), refusal.Err)
	}
	c.risingSteps(ctx)
	c.stops(ctx)
	c.rest()
	return c, d.retain()
}

// risingSteps starts and upgrades. A step that the modules that run do not allow yet may be allowed after another one.
func (c *change) risingSteps(ctx context.Context) {
	todo := slices.DeleteFunc(slices.Clone(c.plan.Steps), func(s catalog.Step) bool { return s.Act == catalog.ActStop })
	for progress := true; progress; {
		progress = false
		for _, step := range slices.Clone(todo) {
			if c.installed().Allows(c.plan.Next, step.Name) != nil {
				continue
			}
			progress = true
			todo = slices.DeleteFunc(todo, func(other catalog.Step) bool { return other == step })
			c.rise(ctx, step)
		}
	}
	for _, step := range todo {
		c.report(step.Name, step.Act, versionIn(c.plan.Next, step.Name), c.installed().Allows(c.plan.Next, step.Name))
	}
}

func (c *change) rise(ctx context.Context, step catalog.Step) {
	before := c.installedVersion(step.Name)
	next := c.installed().Take(c.plan.Next, step.Name)
	mod, err := c.resolveModule(next.Get(step.Name))
	switch {
	case err != nil:
	case step.Act == catalog.ActUpgrade && !c.supervisor.Holds(step.Name):
		err = c.upgrade(ctx, next, mod)
	default:
		err = c.begin(ctx, next, mod)
	}
	c.report(step.Name, step.Act, versionIn(next, step.Name), err)
	if step.Act == catalog.ActUpgrade {
		c.done[len(c.done)-1].From = before
	}
}

// begin runs a module of which nothing runs. One that does not become ready is there all the same, as at the platform's start.
func (c *change) begin(ctx context.Context, next *catalog.Catalog, mod *supervisor.Module) error {
	name := mod.Manifest.Name
	c.supervisor.Remove(name) // one that waits for others, as another version
	c.learn(mod.Module)
	put, _ := c.gateway.Prepare(next.Modules, unavailable(next))
	c.registry.Remove(name, "it is starting", true)
	put()
	c.catalog.Store(next)
	if bridged := bridgedModule(mod.Manifest); !c.bridge.WorksFor(bridged) {
		c.bridge.Leave(ctx, name)
		c.bridge.Join(bridged)
	}
	err := c.supervisor.Add(ctx, mod)
	c.live.settle(mod)
	return err
}

// upgrade replaces what runs of a module. Until the new version takes requests, nothing has changed for anybody.
func (c *change) upgrade(ctx context.Context, next *catalog.Catalog, mod *supervisor.Module) error {
	name := mod.Manifest.Name
	old := c.installed().Get(name)
	put, _ := c.gateway.Prepare(next.Modules, unavailable(next)) // survey has refused what conflicts
	bridged := bridgedModule(mod.Manifest)
	c.live.publishing(name, mod.Publishing)
	err := c.supervisor.Upgrade(ctx, supervisor.Upgrade{
		Module: mod,
		Ready: func(ctx context.Context) error {
			c.learn(mod.Module, old.Manifest.Permissions...) // requests are decided on by both manifests
			if !c.bridge.WorksFor(bridged) {
				c.bridge.Leave(ctx, name)
			}
			return ctx.Err()
		},
		Switch: func() {
			put()
			c.catalog.Store(next)
		},
	})
	if c.installed() != next {
		c.learn(old)
		c.bridge.Join(bridgedModule(old.Manifest))
		return err
	}
	c.learn(mod.Module)
	c.bridge.Join(bridged)
	c.live.publishing(name, old.Publishing)
	c.live.settle(mod)
	return err
}

// stops ends what is gone, or may not run any more, all at once: those that depend on others first.
func (c *change) stops(ctx context.Context) {
	var names []string
	for _, step := range c.plan.Steps {
		if step.Act == catalog.ActStop {
			names = append(names, step.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	err := c.installed().Allows(c.plan.Next, names...)
	if err == nil {
		c.end(ctx, names)
	}
	for _, name := range names {
		c.report(name, catalog.ActStop, "", err)
	}
}

func (c *change) end(ctx context.Context, names []string) {
	next := c.installed().Take(c.plan.Next, names...)
	for _, name := range names {
		c.bridge.Leave(ctx, name)
	}
	c.become(next)
	c.supervisor.Remove(names...)
	for _, name := range names {
		c.contracts.Forget(name)
		c.metrics.forget(name)
		if next.Get(name) == nil {
			c.live.forget(name)
		}
		c.tellWhy(next, name)
	}
}

// rest takes over what is known of modules that do not run.
func (c *change) rest() {
	names := slices.DeleteFunc(append(c.plan.Next.Names(), c.installed().Names()...), func(name string) bool {
		runs, _ := c.plan.Next.May(name)
		return runs || c.supervisor.Runs(name)
	})
	next := c.installed().Take(c.plan.Next, names...)
	if next.Same(c.installed()) {
		return
	}
	c.become(next)
	for _, name := range names {
		c.tellWhy(next, name)
	}
}

// become makes a catalog the installed one where that starts and ends nothing.
func (c *change) become(next *catalog.Catalog) {
	put, _ := c.gateway.Prepare(next.Modules, unavailable(next))
	put()
	before := c.installed()
	c.catalog.Store(next)
	for _, name := range before.Names() {
		if next.Get(name) == nil {
			c.permissions.Remove(name)
		}
	}
	for _, mod := range next.Modules {
		if before.Get(mod.Manifest.Name) == nil {
			c.learn(mod)
		}
	}
}

// tellWhy lets those who ask the registry know why a module does not run.
func (c *change) tellWhy(next *catalog.Catalog, name string) {
	if _, why := next.May(name); why != nil {
		c.registry.Remove(name, why.Error(), false)
		return
	}
	c.registry.Forget(name)
}

// report says what became of one module.
func (c *change) report(name string, act catalog.Act, version string, err error) {
	done := admin.ModuleChange{Module: name, Act: string(act), From: c.installedVersion(name), To: version}
	if act == catalog.ActStart || act == catalog.ActStop {
		done.From = ""
	}
	if err != nil {
		done.Problem, done.Fix = admin.SplitFix(err.Error())
		c.errs[name] = err
		c.live.failed(name, version, err)
		c.log.Error("a change of a module was not taken over", "module", name, "act", string(act), "version", version, "error", err)
	} else {
		c.live.taken(name)
		c.log.Info("a change of a module was taken over", "module", name, "act", string(act), "version", version)
	}
	c.done = append(c.done, done)
}

// retain forgets the executables of versions that are not started again.
func (d *daemon) retain() error {
	sums := map[string]bool{}
	for _, mod := range d.installed().Modules {
		sums[mod.SHA256] = true
	}
	if err := d.launcher.Retain(sums); err != nil {
		return fmt.Errorf("remove what is left of earlier versions: %w", err)
	}
	return nil
}

func versionIn(c *catalog.Catalog, name string) string {
	if mod := c.Get(name); mod != nil {
		return mod.Manifest.Version
	}
	return ""
}
