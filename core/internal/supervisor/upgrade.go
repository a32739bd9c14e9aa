package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// Upgrade is how a module comes to its next version.
type Upgrade struct {
	Module *Module
	// Ready is called when every new instance is ready, and before one takes requests. An error ends the upgrade.
	Ready func(context.Context) error
	// Switch is called in the moment in which the new instances take the place of the old ones: see instance.Registry.Switch.
	Switch func()
}

// Upgrade launches as many instances of a module's next version as it wants, beside the ones that take requests, and puts them in
// their place in one moment when all are ready; then the old ones finish what they do, and stop. It returns when they have. Until
// that moment whatever fails ends the new instances alone, and is the error.
//
// Where one of the two versions must not run beside another (runtime.upgrade: exclusive), the old instances stop first, and
// callers wait; when the new ones fail, the old version is started again.
//
// An order to stop the module breaks an upgrade off, and so does the end of Run.
func (s *Supervisor) Upgrade(ctx context.Context, u Upgrade) error {
	r := s.runner(u.Module.Manifest.Name)
	if r == nil {
		return ErrUnknownModule
	}
	result := make(chan error, 1)
	if !r.report(func() { r.beginUpgrade(u, result) }) {
		return errStopping
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errBrokenOff ends an upgrade whose module is to stop.
var errBrokenOff = errors.New("the upgrade was broken off because the module is to stop")

//nolint:contextcheck,nolintlint // an upgrade lasts as the module does: see perform
func (r *runner) beginUpgrade(u Upgrade, result chan<- error) {
	state, reason := r.machine.state()
	if !r.machine.begun || r.upgrading != nil {
		result <- &StateError{Module: r.name, State: state, Reason: reason}
		return
	}
	ctx, cancel := context.WithCancel(r.life)
	r.upgrading = cancel
	r.beside.Go(func() {
		err := r.upgrade(ctx, u)
		if err != nil && ctx.Err() != nil {
			err = errBrokenOff
		}
		cancel()
		r.report(func() { r.upgrading = nil })
		result <- err
	})
}

// breakOff ends an upgrade that has not come to its moment.
func (r *runner) breakOff() {
	if r.upgrading != nil {
		r.upgrading()
	}
}

// upgrade runs beside the runner.
func (r *runner) upgrade(ctx context.Context, u Upgrade) error {
	exclusive := isExclusive(u.Module) || isExclusive(r.module())
	if exclusive {
		if err := r.makeWay(ctx, u.Module.Manifest.Version); err != nil {
			return err
		}
	}
	next, err := r.launchNext(ctx, u.Module)
	if err == nil {
		err = u.Ready(ctx)
	}
	if err == nil {
		err = r.succeed(ctx, u, next)
	}
	if err == nil {
		return r.awaitQuiet(ctx)
	}
	for _, l := range next {
		l.instance.Kill()
	}
	r.log().Error("the module was not upgraded", "version", u.Module.Manifest.Version, "error", err)
	if exclusive {
		return r.goBack(ctx, err)
	}
	return err
}

func isExclusive(mod *Module) bool { return mod.Manifest.Runtime.Upgrade == manifest.UpgradeExclusive }

// makeWay ends every instance, and returns when their processes are dead.
func (r *runner) makeWay(ctx context.Context, version string) error {
	r.report(func() {
		if ctx.Err() != nil {
			return
		}
		r.deps.Registry.Remove(r.name, public(Starting), true) // before they are retired: callers wait
		r.perform(r.machine.makeWay("version " + version + " of it is being started, which must not run beside another"))
	})
	return r.awaitQuiet(ctx)
}

// awaitQuiet returns when no process is on its way up or down.
func (r *runner) awaitQuiet(ctx context.Context) error {
	quiet := make(chan struct{})
	r.report(func() { r.quiet = append(r.quiet, quiet) }) // publish, which follows, looks
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *runner) callQuiet() {
	for _, quiet := range r.quiet {
		close(quiet)
	}
	r.quiet = nil
}

// launchNext returns when as many instances as mod wants are ready, or none is.
func (r *runner) launchNext(ctx context.Context, mod *Module) ([]*launch, error) {
	all := make([]*launch, mod.instances())
	group, ctx := errgroup.WithContext(ctx)
	for i := range all {
		all[i] = &launch{deps: r.deps, mod: mod, successor: true}
		group.Go(func() error { return all[i].run(ctx) })
	}
	err := group.Wait()
	if err == nil {
		return all, nil
	}
	for _, l := range all {
		if l.instance != nil {
			l.instance.Kill() // those that failed are dead already
		}
	}
	r.fileFailedLaunch(err)
	return nil, err
}

// succeed is the moment.
func (r *runner) succeed(ctx context.Context, u Upgrade, next []*launch) error {
	err := errStopping
	r.report(func() {
		if err = r.canSucceed(ctx, next); err == nil {
			r.takeOver(u, next)
		}
	})
	return err
}

func (r *runner) canSucceed(ctx context.Context, next []*launch) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, l := range next {
		select {
		case <-l.instance.Done():
			return fmt.Errorf("the process ended before it took requests (%s)", l.instance.ExitReason())
		default:
		}
	}
	return nil
}

//nolint:contextcheck,nolintlint // what it begins lasts as the module does: see perform
func (r *runner) takeOver(u Upgrade, next []*launch) {
	before, slots := r.slots, make([]running, len(next))
	r.perform(r.machine.takeOver(len(next), u.Module.Budget, time.Now()))
	instances := make([]*instance.Instance, len(next))
	took := time.Duration(0)
	for i, l := range next {
		l.file()
		instances[i], took = l.instance, max(took, l.took)
		slots[i].instance = l.instance
	}
	r.slots = slots
	r.deps.Registry.Switch(r.name, instances, u.Switch)
	old := r.replace(u.Module, took)
	for i := range r.slots {
		r.beginWatch(&r.slots[i])
	}
	for _, s := range before {
		if s.instance != nil {
			r.retire(s, old)
		}
	}
	r.log().Info("the module was upgraded", "from", old.Manifest.Version, "to", u.Module.Manifest.Version)
	r.setBroken(false)
}

// replace makes mod what the instances are of.
func (r *runner) replace(mod *Module, took time.Duration) (before *Module) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.mod = r.mod, mod
	m := mod.Manifest
	r.status.Version, r.status.Wanted, r.status.Required = m.Version, mod.instances(), m.Runtime.Required
	r.status.StartMillis, r.status.Problem = took.Milliseconds(), ""
	return before
}

// goBack starts what has made way again, unless somebody has given another order meanwhile.
func (r *runner) goBack(ctx context.Context, why error) error {
	version := r.module().Manifest.Version
	err := r.order(ctx, func(m *machine) []action {
		if m.away == "" {
			return nil
		}
		return m.start()
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w; version %s, which was stopped for it, does not start again either: %w", why, version, err)
	}
	return why
}
