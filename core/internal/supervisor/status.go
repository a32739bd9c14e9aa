package supervisor

import (
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

func (r *runner) log() hclog.Logger { return r.deps.Log.With("module", r.mod.Manifest.Name) }

// unavailable takes the module out of the registry, with the reason callers are told.
func (r *runner) unavailable(state State, reason string) {
	r.deps.Registry.Remove(r.mod.Manifest.Name, reason, state == Starting)
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
