package isolation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckPeer refuses the process at the other end if it is, or descends from, a confined one, even of our own user: it is in
// another PID namespace, in one of our cgroups, or bears the mark that no process can take off, no_new_privs.
func CheckPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = checkPeer(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// checkPeer looks at /proc between two looks at a descriptor of the process, so that what it reads is of no other process of
// the same number. Kernels before 6.5 give no such descriptor.
func checkPeer(socket int) error {
	cred, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("look at the peer: %w", err)
	}
	if cred.Uid == 0 && os.Geteuid() != 0 {
		return nil // root rules the machine, and no module of ours is root
	}
	if cred.Pid == 0 {
		return errors.New("the peer is in a PID namespace that is not ours")
	}
	if int(cred.Pid) == os.Getpid() {
		return nil
	}
	pidfd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err == nil {
		defer func() { _ = unix.Close(pidfd) }()
	}
	if why := checkProcess(int(cred.Pid)); why != nil {
		return fmt.Errorf("the peer, pid %d: %w", cred.Pid, why)
	}
	if err == nil && ended(pidfd) {
		return fmt.Errorf("the peer, pid %d, has ended", cred.Pid)
	}
	return nil
}

func ended(pidfd int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0) //nolint:gosec // a descriptor is small
	return err != nil || n > 0
}

func checkProcess(pid int) error {
	dir := fmt.Sprintf("/proc/%d", pid)
	ours, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(dir + "/ns/pid")
	if err != nil {
		return err
	}
	if ours != theirs {
		return errors.New("it is in another PID namespace, as modules are")
	}
	groups, err := os.ReadFile(dir + "/cgroup")
	if err != nil {
		return err
	}
	if strings.Contains(string(groups), "/"+parentPrefix) {
		return errors.New("it is in the cgroup of a module")
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return err
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	const mark = "NoNewPrivs:\t1"
	if strings.Contains(string(status), mark) && !strings.Contains(string(own), mark) {
		return errors.New("it has given up privileges, as modules have")
	}
	return nil
}
