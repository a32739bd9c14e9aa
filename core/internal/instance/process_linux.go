package instance

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sysProcAttr puts the process in a group of its own, so that the terminal's Ctrl-C is the core's alone and the group can
// be killed as one; the kernel kills it when the parent thread, and so the core, is gone.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap returns when the process has ended. The rest of its group is killed while the process is still a zombie: until it
// is reaped nobody else can be given its pid.
func (p *process) reap() error {
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.killTree()
	p.nowReaped()
	return p.cmd.Wait() // its outputs are plain files: this waits for the process only
}

// checkPeer refuses a data socket that somebody else than the instance's own process listens on.
func checkPeer(pid, uid int) func(*net.UnixConn) error {
	return func(conn *net.UnixConn) error {
		raw, err := conn.SyscallConn()
		if err != nil {
			return fmt.Errorf("look at the data socket's peer: %w", err)
		}
		var cred *unix.Ucred
		var credErr error
		if err := raw.Control(func(fd uintptr) {
			cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		}); err != nil {
			return fmt.Errorf("look at the data socket's peer: %w", err)
		}
		if credErr != nil {
			return fmt.Errorf("look at the data socket's peer: %w", credErr)
		}
		if int(cred.Pid) != pid || int(cred.Uid) != uid {
			return fmt.Errorf("the data socket is held by pid %d of uid %d, not by the module's pid %d of uid %d",
				cred.Pid, cred.Uid, pid, uid)
		}
		return nil
	}
}
