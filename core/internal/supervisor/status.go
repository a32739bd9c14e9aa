package supervisor

import (
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

func (r *runner) log() hclog.Logger { return r.deps.Log.With("module", r.mod.Manifest.Name) }

// unavailable takes the module out of the registry. The reason is for operators: it may hold what the module said, which
// clients must not see.
func (r *runner) unavailable(state State, reason string) {
	r.deps.Registry.Remove(r.mod.Manifest.Name, public(state), state == Starting)
	r.mu.Lock()
	r.status.Instances = []Process{}
	r.mu.Unlock()
	r.change(state, reason)
}

func (r *runner) change(state State, reason string) {
	r.mu.Lock()
	if r.status.State != state {
		r.status.Since = time.Now()
	}
	r.status.State, r.status.Reason = state, reason
	r.mu.Unlock()
	r.deps.Changed(r.current())
}

func (r *runner) current() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.status
	status.Instances = slices.Clone(status.Instances)
	return status
}

// public is what anybody may be told.
func public(state State) string {
	const seeing = "; the operator sees why with `platformd module show`"
	switch state {
	case CrashLoop:
		return "it keeps failing and is tried again from time to time" + seeing
	case Failed:
		return "its start failed" + seeing
	case Held:
		return "a module that it requires does not work" + seeing
	case Draining, Stopped:
		return "it is stopping"
	case Starting, Ready:
	}
	return "it is starting"
}

func (r *runner) settle() { r.settledOnce.Do(func() { close(r.settled) }) }

func (r *runner) breakChain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = true
}

// isBroken says whether modules that require this one must be held, and why.
func (r *runner) isBroken() (why string, broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.status.State) + ": " + r.status.Reason, r.broken
}
