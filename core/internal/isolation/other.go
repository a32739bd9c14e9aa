//go:build !linux

package isolation

import (
	"net"
	"os"
	"os/exec"
)

// abilities is empty: nothing of this is built for other systems than Linux.
type abilities struct{}

func (abilities) level() Level { return None }

// Main does nothing: no process is confined here.
func Main() {}

// Harden does nothing here.
func Harden() error { return nil }

// Probe finds nothing but that this is not Linux.
func Probe() *Host {
	return &Host{findings: []Finding{{
		Name: "isolation", Detail: "modules can be isolated on Linux only", Fix: "run the platform on Linux",
	}}}
}

// Reach returns nil: no process has a user of its own here.
func (*Host) Reach(string) error { return nil }

// Sandbox makes cells. Here they have no walls.
type Sandbox struct{}

// NewSandbox returns a Sandbox.
func NewSandbox(*Host, string) (*Sandbox, error) { return &Sandbox{}, nil }

// Sweep finds nothing to end: a process ends itself when its lifeline does.
func (*Sandbox) Sweep(string) error { return nil }

// Forget has nothing to give back.
func (*Sandbox) Forget(string) error { return nil }

// User finds none.
func (*Sandbox) User(string) (int, bool) { return 0, false }

// Close has nothing to release.
func (*Sandbox) Close() error { return nil }

// Level returns None.
func (*Sandbox) Level() Level { return None }

// Assess returns None.
func (*Sandbox) Assess(Spec) (Level, []string) { return None, nil }

// Cell returns a cell without walls.
func (*Sandbox) Cell(spec Spec) (*Cell, error) { return Open(spec), nil }

type walls struct{}

// Start starts cmd. There are no images here.
func (*Cell) Start(cmd *exec.Cmd) error { return cmd.Start() }

// helper is nil: the executable is run directly.
func (*Cell) helper() []string { return nil }

// ownBinary is what Spec.Own runs.
func ownBinary() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// Kill does nothing: the caller kills the process group.
func (*Cell) Kill() {}

// Explain returns reason.
func (*Cell) Explain(reason string) string { return reason }

// Close has nothing to remove.
func (*Cell) Close() error { return nil }

// CheckPeer accepts everybody: there is no sure sign of a module's process here.
func CheckPeer(*net.UnixConn) error { return nil }
