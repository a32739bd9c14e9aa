package isolation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// removalPatience bounds the wait for a group to become empty: what was killed in it takes a moment to be gone.
	removalPatience = 2 * time.Second
	removalPause    = 5 * time.Millisecond
)

// parent is a hierarchy made ready: the folder in which groups of processes are made.
type parent struct {
	hierarchy
	dir string
}

// group is one process's groups, one in each hierarchy.
type group struct {
	parents []parent
	name    string
}

func (g *group) dirs() []string {
	dirs := make([]string, len(g.parents))
	for i, p := range g.parents {
		dirs[i] = filepath.Join(p.dir, g.name)
	}
	return dirs
}

// make creates the groups and sets their limits. On an error nothing is left.
func (g *group) make(l Limits) error {
	for _, p := range g.parents {
		dir := filepath.Join(p.dir, g.name)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = setLimits(p.hierarchy, dir, l)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("make the cgroup of a module: %w", err), g.remove())
		}
	}
	return nil
}

// setting is one file of a group and what is written there. An optional one is for what not every kernel has.
type setting struct {
	file, value string
	optional    bool
}

func setLimits(h hierarchy, dir string, l Limits) error {
	for _, s := range settings(h, l) {
		err := write(filepath.Join(dir, s.file), s.value)
		if err != nil && !s.optional {
			return fmt.Errorf("write %s: %w", s.file, err)
		}
	}
	return nil
}

func settings(h hierarchy, l Limits) []setting {
	var all []setting
	if h.has("memory") && l.Memory > 0 {
		all = append(all, memorySettings(h.version, strconv.FormatInt(l.Memory, 10))...)
	}
	if h.has("pids") && l.PIDs > 0 {
		all = append(all, setting{file: "pids.max", value: strconv.Itoa(l.PIDs)})
	}
	if h.has("cpu") && l.CPU > 0 {
		all = append(all, cpuSettings(h.version, l.CPU)...)
	}
	return all
}

// memorySettings allow no swap: a limit that only makes the machine slow protects nobody.
func memorySettings(version int, bytes string) []setting {
	if version == 2 {
		return []setting{
			{file: "memory.max", value: bytes},
			{file: "memory.swap.max", value: "0", optional: true},
			{file: "memory.oom.group", value: "1", optional: true},
		}
	}
	return []setting{
		{file: "memory.limit_in_bytes", value: bytes},
		{file: "memory.memsw.limit_in_bytes", value: bytes, optional: true},
	}
}

// cpuSettings allow bursts: what was not used in one period may be used in the next.
func cpuSettings(version int, processors float64) []setting {
	const period = 100_000 // µs
	quota := strconv.FormatInt(max(1000, int64(processors*period)), 10)
	if version == 2 {
		return []setting{
			{file: "cpu.max", value: fmt.Sprintf("%s %d", quota, period)},
			{file: "cpu.max.burst", value: quota, optional: true},
		}
	}
	return []setting{
		{file: "cpu.cfs_period_us", value: strconv.Itoa(period)},
		{file: "cpu.cfs_quota_us", value: quota},
		{file: "cpu.cfs_burst_us", value: quota, optional: true},
	}
}

// join returns the files by which a process enters the groups; what is entered by clone (see into) is left out.
func (g *group) join() []string {
	var files []string
	for _, p := range g.parents {
		if p.version == 1 {
			files = append(files, filepath.Join(p.dir, g.name, "cgroup.procs"))
		}
	}
	return files
}

// into opens the v2 group, in which a process can begin its life; nil if there is none.
func (g *group) into() (*os.File, error) {
	for _, p := range g.parents {
		if p.version == 2 {
			return os.Open(filepath.Join(p.dir, g.name))
		}
	}
	return nil, nil //nolint:nilnil // there need not be one
}

// kill ends everything in the groups.
func (g *group) kill() {
	killGroups(g.dirs())
}

// killGroups ends the members of one process's groups: with cgroup.kill, which nothing can outrun, in the one that has it,
// which has all members. Where there is none, it goes through the others.
func killGroups(dirs []string) {
	for _, dir := range dirs {
		if write(filepath.Join(dir, killFile), "1") == nil {
			return
		}
	}
	for _, dir := range dirs {
		killOneByOne(dir)
	}
}

// killOneByOne goes on until nobody is left to be killed, or a fork bomb has proved faster for a while.
func killOneByOne(dir string) {
	for range 100 {
		pids := fieldsOf(filepath.Join(dir, "cgroup.procs"))
		for _, pid := range pids {
			killMember(dir, pid)
		}
		if len(pids) == 0 {
			return
		}
	}
}

// killMember makes sure that the number still names the member before it sends the signal.
func killMember(dir, pid string) {
	number, err := strconv.Atoi(pid)
	if err != nil {
		return
	}
	fd, err := unix.PidfdOpen(number, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(fd) }()
	for _, member := range fieldsOf(filepath.Join(dir, "cgroup.procs")) {
		if member == pid {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
}

// remove deletes the groups, as soon as they are empty.
func (g *group) remove() error { return removeGroups(g.dirs()) }

func removeGroups(dirs []string) error {
	var problems []error
	deadline := time.Now().Add(removalPatience)
	for _, dir := range dirs {
		err := os.Remove(dir)
		for errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline) {
			time.Sleep(removalPause) //nolint:forbidigo // v1 tells nobody when a group becomes empty
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("remove the cgroup: %w", err))
		}
	}
	return errors.Join(problems...)
}

// outOfMemory says whether the kernel killed a member because of the memory limit.
func (g *group) outOfMemory() bool {
	return g.counter("memory", "memory.events", "oom_kill") > 0 || g.counter("memory", "memory.oom_control", "oom_kill") > 0
}

// outOfPIDs says whether a fork failed because of the limit.
func (g *group) outOfPIDs() bool { return g.counter("pids", "pids.events", "max") > 0 }

// counter reads a line "KEY NUMBER" of a group's file; 0 if there is none.
func (g *group) counter(controller, file, key string) int {
	for _, p := range g.parents {
		if !p.has(controller) {
			continue
		}
		fields := fieldsOf(filepath.Join(p.dir, g.name, file))
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i] == key {
				n, _ := strconv.Atoi(fields[i+1])
				return n
			}
		}
	}
	return 0
}

// sweep ends and removes every group that an earlier run left in the parent.
func (p parent) sweep() error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("look for cgroups of an earlier run: %w", err)
	}
	var left []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			dir := filepath.Join(p.dir, entry.Name())
			killGroups([]string{dir})
			left = append(left, dir)
		}
	}
	return removeGroups(left)
}
