package supervisor

import (
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
)

func (r *runner) log() hclog.Logger { return r.deps.Log.With("module", r.name) }

// publish makes known what has become of the module. The reason is for operators: it may hold what the module said, which
// clients must not see.
func (r *runner) publish() {
	state, reason := r.machine.state()
	ending := r.retiring
	if state == Stopped {
		reason = r.stopReason
		if ending += r.launching; ending > 0 {
			state = Draining
		}
	}
	if state != Ready {
		r.deps.Registry.Remove(r.name, public(state), state == Starting)
	}
	if r.note(state, reason) {
		r.deps.Changed(r.current())
	}
	if r.retiring+r.launching == 0 {
		r.callQuiet()
	}
	if !r.machine.settled() {
		return
	}
	r.settle() // also after a failure: whoever waits for a first start has seen one
	if ending == 0 {
		r.deliver(nil)
	}
}

// note takes over what the status says, and tells whether anything of it is new.
func (r *runner) note(state State, reason string) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.status
	if r.status.State != state {
		r.status.Since = time.Now()
	}
	if state != Ready {
		r.status.Problem = ""
	}
	r.status.State, r.status.Reason, r.status.Restarts = state, reason, r.machine.relaunches
	r.status.Instances = r.processes()
	return !reflect.DeepEqual(before, r.status)
}

// processes describes the instances that take requests.
func (r *runner) processes() []Process {
	all := []Process{}
	for _, s := range r.slots {
		if inst := s.instance; inst != nil {
			all = append(all, Process{
				PID: inst.PID(), StartedAt: inst.Started(), SHA256: inst.SHA256(), Transport: inst.Transport(),
			})
		}
	}
	return all
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
	case Backoff:
		return "it could not be launched and is tried again from time to time" + seeing
	case Failed:
		return "its start failed" + seeing
	case Held:
		return "a module that it requires does not work" + seeing
	case Draining:
		return "it is stopping"
	case Stopped:
		return "it has been stopped"
	case Starting, Ready:
	}
	return "it is starting"
}
