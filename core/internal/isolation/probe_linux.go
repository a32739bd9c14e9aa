package isolation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is the running binary itself, whatever lies at its path by now.
const self = "/proc/self/exe"

// abilities is what the host allows.
type abilities struct {
	landlock int     // ABI version; 0 = not there
	flags    uintptr // namespaces that work; 0 = none
	mounts   bool    // a /proc of its own can be mounted in them
	users    userRange
	groups   []hierarchy
}

func (a abilities) level() Level {
	switch {
	case a.landlock == 0:
		return None
	case a.users.size > 0 && a.flags != 0 && limits(a.groups, "memory") && limits(a.groups, "pids"):
		return Full
	}
	return Landlock
}

// Probe finds out by trying: it starts the running binary a few times, whose main must begin with Main.
func Probe() *Host {
	h := &Host{}
	h.can.landlock = landlockABI()
	h.find(h.landlockFinding())
	h.find(h.probeNamespaces())
	h.find(h.probeUsers())
	h.find(h.probeGroups()...)
	return h
}

func (h *Host) find(findings ...Finding) { h.findings = append(h.findings, findings...) }

func (h *Host) landlockFinding() Finding {
	if h.can.landlock == 0 {
		return Finding{Name: "landlock", Detail: "the kernel does not offer it: modules can read what the core can",
			Fix: "use Linux 5.13 or newer, with landlock in the kernel's parameter lsm="}
	}
	detail := fmt.Sprintf("version %d", h.can.landlock)
	if h.can.landlock < 6 {
		return Finding{Name: "landlock", OK: true, Detail: detail + "; it cannot keep signals and abstract sockets apart yet",
			Fix: "use Linux 6.12 or newer"}
	}
	return Finding{Name: "landlock", OK: true, Detail: detail}
}

// probeNamespaces takes the most of them that works.
func (h *Host) probeNamespaces() Finding {
	const some = unix.CLONE_NEWPID
	const all = some | unix.CLONE_NEWNS | unix.CLONE_NEWIPC
	user := uintptr(0)
	if os.Geteuid() != 0 {
		user = unix.CLONE_NEWUSER
	}
	err := h.try(order{Probe: true, Mounts: true}, user|all)
	if err == nil {
		h.can.flags, h.can.mounts = user|all, true
		return Finding{Name: "pid namespace", OK: true, Detail: "with a /proc of its own"}
	}
	if h.try(order{Probe: true}, user|some) == nil {
		h.can.flags = user | some
		return Finding{Name: "pid namespace", OK: true, Detail: "without a /proc of its own: " + err.Error()}
	}
	fix := "run platformd as root, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone," +
		" kernel.apparmor_restrict_unprivileged_userns=0)"
	return Finding{Name: "pid namespace", Detail: "a module's descendants may outlive it: " + err.Error(), Fix: fix}
}

// try starts the helper in these namespaces and reports whether it could do what it was told.
func (h *Host) try(o order, flags uintptr) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	cmd := exec.Command(self, helperName, string(text)) //nolint:noctx // it does a few system calls and ends
	cmd.Args[0] = os.Args[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	inNamespaces(cmd.SysProcAttr, flags)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := dumpable(flags, cmd.Run); err != nil {
		if said.Len() > 0 {
			return errors.New(strings.TrimSpace(strings.TrimPrefix(said.String(), "isolation: ")))
		}
		return err
	}
	return nil
}

// inNamespaces makes a process begin in new namespaces. In a user namespace it keeps its user, and gets what it needs to
// mount its own /proc; it gives that up before it executes anything.
func inNamespaces(attr *syscall.SysProcAttr, flags uintptr) {
	attr.Cloneflags |= flags
	if flags&unix.CLONE_NEWUSER == 0 {
		return
	}
	uid, gid := os.Geteuid(), os.Getegid()
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP}
}

// dumping guards what a process has once, as the kernel sees it.
var dumping sync.Mutex

// dumpable runs start, which makes a process in these namespaces. The kernel lets us write the user map of a new user
// namespace only while our /proc files are ours, which Harden ends; a confined module cannot use the moment, as Landlock
// forbids it to look into processes outside.
func dumpable(flags uintptr, start func() error) error {
	if flags&unix.CLONE_NEWUSER == 0 {
		return start()
	}
	dumping.Lock()
	defer dumping.Unlock()
	before, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || before == 1 {
		return start()
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("open the user map: %w", err)
	}
	return errors.Join(start(), Harden())
}

func (h *Host) probeUsers() Finding {
	const name = "own user"
	if os.Geteuid() != 0 {
		return Finding{Name: name, Detail: "modules share the user of platformd", Fix: "run platformd as root"}
	}
	users, err := usableUsers()
	if err == nil {
		err = h.try(order{Probe: true, User: users.first}, 0)
	}
	if err != nil {
		return Finding{Name: name, Detail: "modules share the user of platformd: " + err.Error(),
			Fix: "run platformd with the capabilities SETUID, SETGID and CHOWN, and with free user ids mapped into its namespace"}
	}
	h.can.users = users
	return Finding{Name: name, OK: true, Detail: fmt.Sprintf("one of the ids %d to %d for each module", users.first, users.last())}
}

func (h *Host) probeGroups() []Finding {
	groups, err := findHierarchies()
	if err == nil {
		h.can.groups = usable(groups)
	}
	findings := make([]Finding, 0, 4)
	for _, controller := range []struct{ name, without string }{
		{"memory", "a module may use all of the machine's memory"},
		{"pids", "a module may fork without limit"},
		{"cpu", "a module may use every processor"},
	} {
		f := Finding{Name: "cgroup " + controller.name, OK: limits(h.can.groups, controller.name), Detail: controller.without}
		if f.OK {
			f.Detail = h.describe(controller.name)
		} else {
			f.Fix = "run platformd as root, or as a systemd service with Delegate=yes"
		}
		findings = append(findings, f)
	}
	killing := Finding{Name: "cgroup.kill", OK: limits(h.can.groups, killFile), Detail: "v2"}
	if !killing.OK {
		killing.Detail, killing.Fix = "without it a tree is killed process by process", "mount cgroup2, with Linux 5.14 or newer"
	}
	return append(findings, killing)
}

func (h *Host) describe(controller string) string {
	for _, group := range h.can.groups {
		if group.has(controller) {
			return fmt.Sprintf("v%d, in %s", group.version, group.base)
		}
	}
	return ""
}
