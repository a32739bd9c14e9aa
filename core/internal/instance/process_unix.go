//go:build unix

package instance

import (
	"os"
	"strconv"
	"syscall"
)

// killTree kills the process, everything in its group, and everything in its cell. It does nothing once the process is reaped.
func (p *process) killTree() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.alive {
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // ESRCH: all of it is gone already
		p.cell.Kill()
	}
}

func exitReason(state *os.ProcessState) string {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return "exit " + strconv.Itoa(state.ExitCode())
}
