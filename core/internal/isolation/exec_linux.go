package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// helperName is the hidden command by which the core's own binary becomes a module: `platformd __exec ORDER`.
const helperName = "__exec"

// lifelineFD is the descriptor of the pipe that tells the process that the core is gone.
const lifelineFD = 3

// imageFD is the descriptor of Spec.Image in the process. It stays open, since an interpreter, if the image is for one, opens it.
const imageFD = 4

// exitHelper is the status of a helper that could not do what it was told; the reason is on standard error.
const exitHelper = 125

// order is what the helper is told to do before it becomes the executable. It travels as JSON in an argument, which is gone
// with the helper, and holds no secret.
type order struct {
	Probe      bool     `json:"probe,omitempty"` // do everything, then end instead of executing
	Executable string   `json:"executable,omitempty"`
	Image      bool     `json:"image,omitempty"` // execute what the descriptor imageFD is, and name it as above
	Own        []string `json:"own,omitempty"`   // arguments for our own binary, which takes the executable's place
	Join       []string `json:"join,omitempty"`  // cgroup.procs files
	Mounts     bool     `json:"mounts,omitempty"`
	Landlock   *fence   `json:"landlock,omitempty"`
	User       int      `json:"user,omitempty"` // 0 = the core's
	OpenFiles  int      `json:"open_files,omitempty"`
	Processes  int      `json:"processes,omitempty"` // of the user; 0 = no limit
}

// Main does not return in a process that is to become a module. The program calls it before anything else.
func Main() {
	if len(os.Args) != 3 || os.Args[1] != helperName {
		return
	}
	runtime.LockOSThread() // privileges and the death signal are a thread's; the one that executes is what remains
	var o order
	err := json.Unmarshal([]byte(os.Args[2]), &o)
	if err == nil {
		err = o.carryOut()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "isolation: %v\n", err)
		os.Exit(exitHelper)
	}
	os.Exit(0) // a probe
}

// carryOut does not return on success, unless it is a probe. Each step needs a privilege that a later one gives up.
func (o *order) carryOut() error {
	for _, step := range []func() error{
		o.join, o.mount, o.limit, o.forsakeBounding, o.restrict, o.becomeUser, o.forsake, o.dieWithCore,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if o.Probe {
		return nil
	}
	if len(o.Own) > 0 {
		err := syscall.Exec(self, append([]string{os.Args[0]}, o.Own...), os.Environ())
		return fmt.Errorf("execute platformd: %w (fix: let every user execute its binary)", err)
	}
	argv := []string{o.Executable}
	var err error
	if o.Image {
		err = executeImage(argv, os.Environ())
	} else {
		err = syscall.Exec(o.Executable, argv, os.Environ())
	}
	return fmt.Errorf("execute %s: %w", o.Executable, err)
}

// executeImage is execveat(2) of the descriptor itself: newer kernels then name the process after the image, and not "4".
func executeImage(argv, env []string) error {
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	vars, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	var empty byte // a path of no characters
	_, _, errno := syscall.RawSyscall6(unix.SYS_EXECVEAT, imageFD, uintptr(unsafe.Pointer(&empty)),
		uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&vars[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}

// join comes first, so that everything the process ever uses is counted.
func (o *order) join() error {
	for _, file := range o.Join {
		if err := write(file, "0"); err != nil {
			return fmt.Errorf("join the cgroup: %w", err)
		}
	}
	// When the machine runs out of memory, the core is the last one to end.
	_ = write("/proc/self/oom_score_adj", "500")
	return nil
}

// mount shows the process a /proc of its own PID namespace.
func (o *order) mount() error {
	if !o.Mounts {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts apart: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

func (o *order) limit() error {
	const nproc = 6                         // RLIMIT_NPROC, which package syscall does not name
	err := setLimit(syscall.RLIMIT_CORE, 0) // a dump would hold what the module knows
	if err == nil && o.OpenFiles > 0 {
		err = setLimit(syscall.RLIMIT_NOFILE, uint64(o.OpenFiles))
	}
	if err == nil && o.Processes > 0 {
		err = setLimit(nproc, uint64(o.Processes))
	}
	return err
}

// setLimit sets both limits, or the hard one's value where it may not be exceeded.
func setLimit(resource int, value uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("read limit %d: %w", resource, err)
	}
	err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value})
	if errors.Is(err, syscall.EPERM) {
		value = min(value, now.Max)
		err = syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value})
	}
	if err != nil {
		return fmt.Errorf("set limit %d to %d: %w", resource, value, err)
	}
	return nil
}

// forsakeBounding makes sure that no capability but those of kept can be gained by executing anything.
func (o *order) forsakeBounding() error {
	for capability := 0; capability <= unix.CAP_LAST_CAP; capability++ {
		if o.kept()&(1<<capability) == 0 {
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(capability), 0, 0, 0) // who may not, has none to lose
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) // kernels before 4.3 have none
	return nil
}

// kept is the capability left to a process that stays root: without it root could not even read what its owner may, such
// as a folder in somebody's home. The fence still stands.
func (o *order) kept() uint64 {
	if o.User == 0 && os.Getuid() == 0 {
		return 1 << unix.CAP_DAC_OVERRIDE
	}
	return 0
}

func (o *order) becomeUser() error {
	if o.User == 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("leave all groups: %w", err)
	}
	if err := syscall.Setresgid(o.User, o.User, o.User); err != nil {
		return fmt.Errorf("become group %d: %w", o.User, err)
	}
	if err := syscall.Setresuid(o.User, o.User, o.User); err != nil {
		return fmt.Errorf("become user %d: %w", o.User, err)
	}
	return nil
}

// forsake gives up capabilities, and for ever the chance to gain any.
func (o *order) forsake() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forgo privileges: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	low, high := uint32(o.kept()), uint32(o.kept()>>32)
	left := [2]unix.CapUserData{
		{Effective: have[0].Effective & low, Permitted: have[0].Permitted & low},
		{Effective: have[1].Effective & high, Permitted: have[1].Permitted & high},
	}
	if err := unix.Capset(&header, &left[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// dieWithCore asks for the death signal again, because a change of user cancels it, and makes sure that it did not come
// meanwhile.
func (o *order) dieWithCore() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask for the death signal: %w", err)
	}
	if o.Probe {
		return nil
	}
	lifeline := []unix.PollFd{{Fd: lifelineFD, Events: unix.POLLIN}}
	if n, err := unix.Poll(lifeline, 0); err == nil && n > 0 {
		return errors.New("the core has ended meanwhile")
	}
	return nil
}

// write puts text into an existing file.
func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Harden makes the core's memory and /proc files unreadable for other processes of its user.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("protect the core's memory: %w", err)
	}
	return nil
}
