package supervisor

import "time"

// State is where a module stands in its life.
type State string

// The states. Only Ready can be called; Starting, Draining, Backoff and CrashLoop leave by themselves.
const (
	Starting  State = "starting"   // launched, not yet ready, or waiting for its dependencies
	Ready     State = "ready"      // takes requests
	Draining  State = "draining"   // finishes what runs
	Backoff   State = "backoff"    // the host could not start its process: tried again with growing delays
	CrashLoop State = "crash_loop" // over its restart budget: relaunched with growing delays
	Held      State = "held"       // may not start: a required dependency is missing or failed
	Failed    State = "failed"     // a relaunch would fail the same way
	Stopped   State = "stopped"
)

// States lists every State.
func States() []State {
	return []State{Starting, Ready, Draining, Backoff, CrashLoop, Held, Failed, Stopped}
}

// Status is a module's state as people and probes see it.
type Status struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`
	// Reason says why the module is not ready; empty when it is.
	Reason string `json:"reason,omitempty"`
	// Problem is what a ready module says that it lacks; empty when it is well.
	Problem string `json:"problem,omitempty"`
	// Wanted is how many instances are to run.
	Wanted int `json:"wanted"`
	// Required modules gate the platform's readiness.
	Required bool `json:"required,omitempty"`
	// Restarts counts relaunches after crashes since the core started.
	Restarts int `json:"restarts"`
	// StartMillis is how long the last launch took until ready, in milliseconds.
	StartMillis int64 `json:"start_ms,omitempty"`
	// Instances holds the live processes; never nil.
	Instances []Process `json:"instances"`
}

// Process is one live process of a module.
type Process struct {
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
	SHA256    string    `json:"sha256"`
	Transport string    `json:"transport"` // of its HTTP exchanges
}
