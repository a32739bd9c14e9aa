package supervisor

import (
	"context"
	"fmt"
	"time"
)

// awaitDependencies starts the module once it may: it gives each dependency its startTimeout, from when it begins to start
// itself; after that the module starts without it, degraded. While a required one is broken the module is held.
func (r *runner) awaitDependencies(ctx context.Context) {
	for _, dep := range r.relatives.after(r) {
		r.awaitDependency(ctx, dep)
	}
	close(r.begun)
	for ctx.Err() == nil {
		dep, why, healed := r.brokenDependency()
		if dep == nil {
			r.setBroken(false)
			r.report(func() { r.perform(r.machine.start()) })
			return
		}
		r.setBroken(true)
		r.report(func() { r.machine.hold(fmt.Sprintf("it requires %s, which %s", dep.name, why)) })
		select {
		case <-healed:
		case <-ctx.Done():
		}
	}
}

func (r *runner) awaitDependency(ctx context.Context, dep *runner) {
	select {
	case <-dep.begun:
	case <-ctx.Done():
		return
	}
	patience := time.NewTimer(dep.startTimeout())
	defer patience.Stop()
	select {
	case <-dep.settled:
	case <-patience.C:
		r.log().Warn("starting without a dependency that is not ready yet", "dependency", dep.name)
	case <-ctx.Done():
	}
}

// brokenDependency returns a required module without which this one must not start, and a channel that is closed when that
// may have changed; nil if there is none.
func (r *runner) brokenDependency() (dep *runner, why string, changed <-chan struct{}) {
	for _, dep := range r.relatives.requires(r) {
		if why, broken, changed := dep.isBroken(); broken {
			return dep, why, changed
		}
	}
	return nil, "", nil
}

// isBroken says whether modules that require this one must be held, and why.
func (r *runner) isBroken() (why string, broken bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.status.State) + ": " + r.status.Reason, r.broken, r.changed
}

// setBroken lets those who are held look again.
func (r *runner) setBroken(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == broken {
		return
	}
	r.broken = broken
	close(r.changed)
	r.changed = make(chan struct{})
}

// settle lets those go on who wait for a first start.
func (r *runner) settle() { r.settledOnce.Do(func() { close(r.settled) }) }
