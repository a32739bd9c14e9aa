//go:build unix && !linux

package instance

import (
	"net"
	"syscall"
)

// sysProcAttr has no death signal to ask for here: the lifeline alone tells a module that the core is gone.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// reap returns when the process has ended, and kills the rest of its group. Waiting without reaping has no portable form.
func (p *process) reap() error {
	err := p.cmd.Wait()
	p.killTree()
	p.nowReaped()
	return err
}

// checkPeer has no portable form; the runtime folder's mode 0700 is what guards the socket.
func checkPeer(int, int) func(*net.UnixConn) error { return nil }
