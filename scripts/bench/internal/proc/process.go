//go:build linux

// Package proc runs the benchmark's processes and tells what they cost: CPU time and memory of a process with all its
// descendants.
//
// It must not know what the processes are for. It reads Linux's /proc; elsewhere there is no benchmark.
package proc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopPatience is how long a process may take to end after SIGTERM.
const stopPatience = 5 * time.Second

// Spec says what to run.
type Spec struct {
	Name string // in messages, and of the log
	Path string
	Args []string
	Dir  string // working directory
	Env  []string
	Logs string // folder for NAME.log, which gets standard output and standard error
}

// Process runs until Stop, or until the context of Start ends.
type Process struct {
	spec Spec
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// Adopt makes this process the parent of its descendants' orphans, so that KillDescendants finds them.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of orphans: %w (fix: run the benchmark on Linux)", err)
	}
	return nil
}

// Start runs a process in a group of its own: Ctrl-C in the terminal is ours alone. It gets SIGTERM when ctx ends, or when we
// are gone without having stopped it. The kernel takes the end of the thread that calls Start for our end: call it from a
// goroutine that is locked to its thread and lasts as long as the program.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	log, err := os.Create(filepath.Join(spec.Logs, spec.Name+".log"))
	if err != nil {
		return nil, fmt.Errorf("make a log for %s: %w", spec.Name, err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(ctx, spec.Path, spec.Args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = spec.Dir, spec.Env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (fix: install it, or leave it out with --only)", spec.Name, err)
	}
	p := &Process{spec: spec, cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the process; Stop waits for it
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.done }

// Stop ends the process and everything it started, and waits for it.
func (p *Process) Stop() {
	family := descendants(p.PID()) // before it dies: orphans are nobody's children any more
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	patience := time.NewTimer(stopPatience)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	for _, member := range family {
		member.kill()
	}
}

// Complaint is what a process that failed last said, for an error's text.
func (p *Process) Complaint() string {
	content, err := os.ReadFile(filepath.Join(p.spec.Logs, p.spec.Name+".log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
