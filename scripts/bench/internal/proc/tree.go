//go:build linux

package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of /proc's times. It is 10 ms on every Linux of today (USER_HZ).
const tick = 10 * time.Millisecond

// entry is one line of the process table.
type entry struct {
	pid, parent int
	state       byte
	cpu         time.Duration // user and system
	started     string        // tells it from a later process with the same pid
}

// Meter holds the CPU time that processes and all their living descendants had used when it was read.
type Meter []entry

// Read returns a meter of the processes.
func Read(processes ...*Process) (Meter, error) {
	var family Meter
	for _, p := range processes {
		self, err := read(p.PID())
		if err != nil {
			return nil, fmt.Errorf("%s is gone; its last words were:\n%s\nfix: see why it ended", p.spec.Name, p.Complaint())
		}
		family = append(append(family, self), descendants(p.PID())...)
	}
	return family, nil
}

// Since returns the CPU time used since an earlier reading of the same processes. It is an error if one of their descendants
// has ended meanwhile: what that used nobody knows.
func (m Meter) Since(earlier Meter) (time.Duration, error) {
	var used time.Duration
	alive := map[string]bool{}
	for _, e := range m {
		used += e.cpu
		alive[e.identity()] = true
	}
	for _, e := range earlier {
		used -= e.cpu
		if !alive[e.identity()] {
			return 0, fmt.Errorf("process %d ended while it was measured (fix: see why; it may have crashed)", e.pid)
		}
	}
	return used, nil
}

func (e entry) identity() string { return strconv.Itoa(e.pid) + " " + e.started }

// RSS returns the resident memory of one process, in bytes.
func RSS(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return 0, fmt.Errorf("read the memory of process %d: %q has no second field", pid, content)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// KillDescendants kills whatever this process has started, directly or not, and has not ended.
func KillDescendants() {
	for _, member := range descendants(os.Getpid()) {
		member.kill()
	}
}

func (e entry) kill() {
	now, err := read(e.pid)
	if err == nil && now.started == e.started && now.state != 'Z' {
		_ = syscall.Kill(e.pid, syscall.SIGKILL)
	}
}

// descendants lists the children of a process, their children, and so on.
func descendants(pid int) []entry {
	children := map[int][]entry{}
	for _, e := range table() {
		children[e.parent] = append(children[e.parent], e)
	}
	var all []entry
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		for _, child := range children[queue[0]] {
			all = append(all, child)
			queue = append(queue, child.pid)
		}
	}
	return all
}

func table() []entry {
	paths, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	var all []entry
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		if e, err := read(pid); err == nil { // else it has just ended
			all = append(all, e)
		}
	}
	return all
}

func read(pid int) (entry, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return entry{}, err
	}
	return parse(pid, string(content))
}

// parse reads a line of proc(5)'s stat. The name of the process, in parentheses, may hold anything.
func parse(pid int, line string) (entry, error) {
	_, rest, ok := cutLast(line, ")")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return entry{}, fmt.Errorf("read the state of process %d: %q is not a line of /proc", pid, line)
	}
	var numbers [3]int64 // parent, user time, system time
	for i, at := range []int{1, 11, 12} {
		number, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return entry{}, fmt.Errorf("read the state of process %d: %w", pid, err)
		}
		numbers[i] = number
	}
	return entry{
		pid: pid, parent: int(numbers[0]), state: fields[0][0], started: fields[19],
		cpu: time.Duration(numbers[1]+numbers[2]) * tick,
	}, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
