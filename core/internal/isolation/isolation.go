// Package isolation keeps a module's process apart from the core and from other modules, as far as the host allows, and says
// how far that is.
//
// Floor 0. It knows processes and Linux. It must not know what a module is or does: it is told a name, folders and limits,
// and what to execute. It must not decide when a process starts or ends.
package isolation

import (
	"fmt"
	"os"
	"strconv"
)

// Level is how far the processes of modules are kept apart; docs/decisions/0015 defines each.
type Level string

// The levels, strongest first.
const (
	// Full: what Landlock promises, a user of its own, a PID namespace and a cgroup with limits.
	Full Level = "full"
	// Landlock: files are confined to an allow-list, no privileges can be gained, other processes cannot be looked into.
	Landlock Level = "landlock"
	// None: modules are trusted.
	None Level = "none"
)

// String adds to None what it means.
func (l Level) String() string {
	if l == None {
		return "none: modules are trusted"
	}
	return string(l)
}

// Finding is one thing that the host can or cannot do for isolation.
type Finding struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	// Fix says what would make it OK; empty if it is.
	Fix string `json:"fix,omitempty"`
}

// Limits is what one process and its descendants may use together; 0 is no limit.
type Limits struct {
	Memory    int64   // bytes
	CPU       float64 // processors
	PIDs      int     // processes and threads
	OpenFiles int     // per process
}

// Spec is what is known of a process before it starts.
type Spec struct {
	Name       string // of letters, digits and "_"; processes of one name share a user
	Executable string
	// Image is what to execute in the place of what lies at Executable, which only names it then; nil = that itself. The cell
	// closes it.
	Image *os.File
	// Own are arguments with which our own binary is run in the place of Executable: what is the platform's to do, and still
	// must not reach further than the module could.
	Own     []string
	Dir     string // what the process may read and execute, and its working directory
	Runtime string // its private folder, which exists and is empty; "" when only Assess is asked
	Data    string // what it may write and keeps; made if it is not there; "" = nothing
	Limits  Limits
}

// Host is what this machine allows. It is made by Probe and not changed.
type Host struct {
	findings []Finding
	can      abilities
}

// Level is the best that a process can get on this host.
func (h *Host) Level() Level { return h.can.level() }

// Findings says what led to the level, in the order in which a person would ask.
func (h *Host) Findings() []Finding { return h.findings }

// Environment returns what a process should know of its limits, as KEY=value: Go's runtime heeds it, others may.
func (l Limits) Environment() []string {
	const (
		share = 0.9   // of its memory for Go's heap; the rest is for stacks, code and what C allocates
		spare = "400" // garbage per live byte, in percent: small heaps are else collected all the time (docs/decisions/0020)
	)
	env := []string{"GOMAXPROCS=" + strconv.Itoa(l.processors())}
	if l.Memory > 0 {
		env = append(env, fmt.Sprintf("GOMEMLIMIT=%d", int64(float64(l.Memory)*share)), "GOGC="+spare)
	}
	return env
}

// processors is how many threads may run Go code at once: the limit, rounded up. Without a limit it is one, since many
// processes share the machine (docs/decisions/0010).
func (l Limits) processors() int {
	whole := int(l.CPU)
	if float64(whole) < l.CPU {
		whole++
	}
	return max(1, whole)
}
