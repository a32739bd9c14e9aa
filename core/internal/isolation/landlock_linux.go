package isolation

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// fence is what Landlock lets a process reach.
type fence struct {
	Execute []string `json:"execute"` // folders and files to read and execute
	Write   []string `json:"write"`   // folders to do everything in
	OwnProc bool     `json:"own_proc,omitempty"`
}

// landlockABI is the version that the kernel offers; 0 = none.
func landlockABI() int {
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

// restrict puts the process behind its fence. Networks stay open: what a module may call is not decided here.
func (o *order) restrict() error {
	if o.Landlock == nil {
		return nil
	}
	policy := landlock.V11
	policy.HandledAccessNet = 0
	if err := policy.BestEffort().Restrict(o.Landlock.rules(landlockABI())...); err != nil {
		return fmt.Errorf("confine to folders: %w", err)
	}
	return nil
}

func (f *fence) rules(abi int) []landlock.Rule {
	rules := []landlock.Rule{
		landlock.PathAccess(writable(abi), f.Write...),
		landlock.RODirs(systemFolders()...).IgnoreIfMissing(),
		landlock.ROFiles(systemFiles()...).IgnoreIfMissing(),
		landlock.RWFiles("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom").IgnoreIfMissing(),
		landlock.RODirs(procFolders(f.OwnProc)...).IgnoreIfMissing(),
	}
	for _, path := range f.Execute {
		rules = append(rules, readable(path))
	}
	return rules
}

// writable is everything that may be done in a folder, except to execute what was put there and to make devices.
func writable(abi int) landlock.AccessFSSet {
	access := landlock.V11.HandledAccessFS &^ (ll.AccessFSExecute | ll.AccessFSMakeChar | ll.AccessFSMakeBlock)
	if abi < 2 { // then nothing can be moved from one folder to another, and asking for it would undo the whole fence
		access &^= ll.AccessFSRefer
	}
	return access
}

// readable allows to read and execute a file, or everything in a folder.
func readable(path string) landlock.Rule {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return landlock.RODirs(path)
	}
	return landlock.ROFiles(path)
}

// systemFolders is what a program may need of the system: itself and its libraries, certificates, time zones, and where the
// files of a resolver lie.
func systemFolders() []string {
	return []string{
		"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/nix/store", "/gnu/store",
		"/etc/alternatives", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/ld.so.conf.d",
		"/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
		"/sys/devices/system/cpu", "/sys/kernel/mm/transparent_hugepage", "/sys/fs/cgroup",
	}
}

func systemFiles() []string {
	return []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.preload", "/etc/localtime", "/etc/timezone", "/etc/nsswitch.conf",
		"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/hostname", "/etc/gai.conf", "/etc/services",
		"/etc/protocols", "/etc/passwd", "/etc/group", "/etc/mime.types", "/etc/os-release",
		"/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime", "/proc/version", "/proc/filesystems",
	}
}

// procFolders: in a /proc of its own a process sees nobody else. In the host's it gets its own folder and what says nothing
// about others.
func procFolders(own bool) []string {
	if own {
		return []string{"/proc"}
	}
	return []string{"/proc/self", "/proc/sys"}
}
