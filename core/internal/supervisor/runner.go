package supervisor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/platformd/platformd/core/internal/instance"
)

// runner owns one module: its goroutine is the only one that launches or stops it.
type runner struct {
	deps   Deps
	mod    *Module
	policy policy

	readySince time.Time // of the instance that is or was ready last; run's own
	requires   []*runner // must not have failed for good
	after      []*runner // requires and optional ones: started first, stopped last
	dependents []*runner

	begun       chan struct{} // closed when it no longer waits for its own dependencies
	settled     chan struct{} // closed once the module is ready, or known not to become so soon
	settledOnce sync.Once
	stopped     chan struct{} // closed when run has returned

	mu     sync.Mutex
	status Status
	broken bool // its migrations failed, or it is held: dependents are held too
}

func newRunner(deps Deps, mod *Module) *runner {
	return &runner{
		deps: deps, mod: mod, policy: policy{budget: mod.Budget},
		begun: make(chan struct{}), settled: make(chan struct{}), stopped: make(chan struct{}),
		status: Status{
			Name: mod.Manifest.Name, Version: mod.Manifest.Version, State: Starting, Since: time.Now(),
			Required: mod.Manifest.Runtime.Required, Instances: []Process{},
		},
	}
}

func (r *runner) dependOn(other *runner, required bool) {
	if other == nil {
		return // refused after the order was made; whoever requires it is held and not here
	}
	r.after = append(r.after, other)
	other.dependents = append(other.dependents, r)
	if required {
		r.requires = append(r.requires, other)
	}
}

// run is the module's life.
func (r *runner) run(ctx context.Context) {
	defer close(r.stopped)
	defer r.settle()
	r.unavailable(Starting, "it is starting")
	may := r.awaitDependencies(ctx)
	close(r.begun)
	if !may {
		<-ctx.Done()
		return
	}
	for ctx.Err() == nil {
		inst, err := r.launch(ctx)
		if err != nil {
			r.notLaunched(ctx, err)
			continue
		}
		r.ready(inst)
		select {
		case <-inst.Done():
			r.crashed(ctx, inst)
		case <-ctx.Done():
			r.stop(inst) //nolint:contextcheck // ctx has ended; a stop has a deadline of its own
		}
	}
	r.unavailable(Stopped, "the platform is stopping")
}

// awaitDependencies gives each dependency its startTimeout, from when it begins to start itself; after that the module
// starts without it, degraded. It returns false if the module may not start at all.
func (r *runner) awaitDependencies(ctx context.Context) bool {
	for _, dep := range r.after {
		select {
		case <-dep.begun:
		case <-ctx.Done():
		}
		patience := time.NewTimer(dep.startTimeout())
		select {
		case <-dep.settled:
		case <-patience.C:
			r.log().Warn("starting without a dependency that is not ready yet", "dependency", dep.mod.Manifest.Name)
		case <-ctx.Done():
		}
		patience.Stop()
	}
	for _, dep := range r.requires {
		if why, broken := dep.isBroken(); broken {
			r.hold(fmt.Sprintf("it requires %s, which %s", dep.mod.Manifest.Name, why))
			return false
		}
	}
	return ctx.Err() == nil
}

func (r *runner) hold(reason string) {
	r.breakChain()
	r.unavailable(Held, reason)
	r.settle()
}

// notLaunched answers a failed launch: for good if a relaunch would fail the same way, else like a crash.
func (r *runner) notLaunched(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.log().Error("the module did not start", "error", err)
	if permanent, why := asPermanent(err); permanent != nil {
		if permanent.holdsDependents {
			r.breakChain()
		}
		r.unavailable(Failed, why)
		r.settle()
		<-ctx.Done()
		return
	}
	r.relaunchAfter(ctx, err.Error(), 0)
}

// crashed removes a dead instance from the registry before anything else: a caller must not wait for it.
func (r *runner) crashed(ctx context.Context, inst *instance.Instance) {
	reason := inst.ExitReason()
	r.unavailable(Starting, "it is restarting after "+reason)
	uptime := time.Since(r.readySince)
	r.log().Error("the module's process ended", "reason", reason, "pid", inst.PID(),
		"uptime", uptime.Round(time.Millisecond).String())
	inst.Kill()
	r.relaunchAfter(ctx, reason, uptime)
}

func (r *runner) relaunchAfter(ctx context.Context, reason string, uptime time.Duration) {
	if ctx.Err() != nil {
		return
	}
	delay, state := r.policy.next(time.Now(), uptime, r.deps.Random())
	r.mu.Lock()
	r.status.Restarts++
	r.mu.Unlock()
	if state == CrashLoop {
		r.unavailable(CrashLoop,
			fmt.Sprintf("it keeps failing (%s); next attempt in %s", reason, delay.Round(time.Millisecond)))
	} else {
		r.unavailable(Starting, "it is restarting after "+reason)
	}
	r.settle() // whoever waits for a first start has seen one fail
	wait := time.NewTimer(delay)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}

func (r *runner) ready(inst *instance.Instance) {
	r.readySince = time.Now()
	r.deps.Registry.Put(r.mod.Manifest.Name, inst)
	r.mu.Lock()
	r.status.Instances = []Process{{
		PID: inst.PID(), StartedAt: inst.Started(), SHA256: inst.SHA256(), Transport: inst.Transport(),
	}}
	r.mu.Unlock()
	r.change(Ready, "")
	r.settle()
}

// stop ends the instance after the modules that depend on it have ended theirs.
func (r *runner) stop(inst *instance.Instance) {
	for _, dependent := range r.dependents {
		<-dependent.stopped
	}
	r.deps.Registry.Remove(r.mod.Manifest.Name, "the platform is stopping", false)
	r.change(Draining, "the platform is stopping")
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.mod.Manifest.Runtime.StopTimeout))
	defer cancel()
	inst.Stop(ctx)
}
