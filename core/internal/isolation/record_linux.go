package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sweepPatience bounds the wait for the end of a process of an earlier run, in milliseconds.
const sweepPatience = 2000

// record is what the next core must know of a process, should this one be killed. It lies beside the process's runtime
// folder, where the process cannot reach it.
type record struct {
	file   string
	PID    int      `json:"pid,omitempty"`   // 0: not started yet
	Start  string   `json:"start,omitempty"` // in ticks after boot: a number that was given again has another
	Boot   string   `json:"boot,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

func recordFile(runtime string) string { return runtime + ".json" }

func (r *record) save() error {
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(r.file, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("note a process: %w", err)
	}
	return nil
}

// started notes the process.
func (r *record) started(pid int) error {
	start, err := startOf(pid)
	if err != nil {
		return err
	}
	r.PID, r.Start, r.Boot = pid, start, bootID()
	return r.save()
}

// startOf reads field 22 of the process's stat. The name, field 2, may hold anything, so counting begins behind it.
func startOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("look at process %d: %w", pid, err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const start = 22 - 3 // the first field behind the name is the third
	if len(fields) <= start {
		return "", fmt.Errorf("look at process %d: its stat has %d fields", pid, len(fields))
	}
	return fields[start], nil
}

func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// Sweep ends what an earlier run left, as the records in runDir say, and removes its cgroups. The folder itself is left to
// the caller.
func (s *Sandbox) Sweep(runDir string) error {
	files, err := filepath.Glob(filepath.Join(runDir, "*.json"))
	if err != nil {
		return err
	}
	var problems []error
	for _, file := range files {
		problems = append(problems, sweepRecord(file))
	}
	return errors.Join(problems...)
}

// sweepRecord takes a record that cannot be read for one that was not finished: its process never started.
func sweepRecord(file string) error {
	var r record
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && json.Unmarshal(text, &r) != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what an earlier run left: %w", err)
	}
	if r.Boot == bootID() {
		r.end()
	}
	var ours []string
	for _, dir := range r.Groups {
		if strings.Contains(dir, "/"+parentPrefix) {
			ours = append(ours, dir)
		}
	}
	killGroups(ours)
	return removeGroups(ours)
}

// end kills the process and waits a moment for its end. A descriptor holds on to the process while its start is compared,
// so that the signal cannot reach another one of the same number.
func (r *record) end() {
	if r.PID == 0 {
		return
	}
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return // it is gone
	}
	defer func() { _ = unix.Close(fd) }()
	if start, err := startOf(r.PID); err != nil || start != r.Start {
		return
	}
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, sweepPatience) //nolint:gosec // a descriptor is small
	}
}
