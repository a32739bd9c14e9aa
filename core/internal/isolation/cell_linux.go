package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// walls is what a cell is made of on Linux. Without a group it has none.
type walls struct {
	can    abilities
	group  *group
	record *record
	closed sync.Once
	err    error // of closing
}

// helper is our own binary, told what to do before it becomes the executable.
func (c *Cell) helper() []string {
	if c.group == nil {
		return nil
	}
	text, err := json.Marshal(c.order())
	if err != nil { // it holds texts and numbers only
		return nil
	}
	return []string{self, helperName, string(text)}
}

// ownBinary is what Spec.Own runs.
func ownBinary() string { return self }

func (c *Cell) order() order {
	o := order{
		Executable: c.spec.Executable, Image: c.spec.Image != nil, Own: c.spec.Own,
		Join: c.group.join(), Mounts: c.can.mounts, OpenFiles: c.spec.Limits.OpenFiles,
	}
	if c.UID != os.Getuid() {
		o.User = c.UID
		if !limits(c.can.groups, "pids") {
			o.Processes = c.spec.Limits.PIDs // counted per user: only ours alone
		}
	}
	if c.can.landlock > 0 {
		o.Landlock = &fence{
			Execute: []string{c.spec.Dir}, Write: []string{c.spec.Runtime}, OwnProc: c.can.mounts,
		}
		if binary, err := os.Executable(); err == nil && len(c.spec.Own) > 0 {
			o.Landlock.Execute = append(o.Landlock.Execute, binary)
		}
		if c.spec.Data != "" {
			o.Landlock.Write = append(o.Landlock.Write, c.spec.Data)
		}
	}
	return o
}

// Start starts cmd, which Command made, in the cell, and notes it for Sweep. The caller holds the thread whose end is to end
// the process.
func (c *Cell) Start(cmd *exec.Cmd) error {
	started, err := c.handImage(cmd)
	if err != nil {
		return err
	}
	defer started()
	if c.group == nil {
		return cmd.Start()
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	inNamespaces(cmd.SysProcAttr, c.can.flags)
	into, err := c.group.into()
	if err != nil {
		return fmt.Errorf("open the module's cgroup: %w", err)
	}
	if into != nil {
		defer into.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(into.Fd())
	}
	cmd.Args[0] = os.Args[0]
	if err := dumpable(c.can.flags, cmd.Start); err != nil {
		return err
	}
	_ = c.record.started(cmd.Process.Pid) // without it the death signal and the cgroup still end the process
	return nil
}

// handImage gives the command the image. The caller calls done when the process has started.
func (c *Cell) handImage(cmd *exec.Cmd) (done func(), err error) {
	if c.spec.Image == nil {
		return func() {}, nil
	}
	image := c.image.Swap(nil) // nobody else closes it now, so that its number is not given to another file
	if image == nil {
		return nil, errors.New("the cell is closed")
	}
	if len(cmd.ExtraFiles) != imageFD-lifelineFD {
		return nil, errors.Join(errors.New("a command in a cell has one extra file, its lifeline"), image.Close())
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, image)
	return func() { _ = image.Close() }, nil // it was only read
}

// closeImage closes the image of a process that is not to start any more.
func (c *Cell) closeImage() error {
	if image := c.image.Swap(nil); image != nil {
		return image.Close()
	}
	return nil
}

// Kill ends everything that is in the cell, wherever it has gone. The caller also kills the process group, and with it the
// first process of a PID namespace, on which the kernel ends all others at once; then there is nothing left to do, and no
// need to wait for the lock that all cgroups of the machine share.
func (c *Cell) Kill() {
	if c.group != nil && c.can.flags == 0 {
		c.group.kill()
	}
}

// Explain makes the reason for the end of a process, such as "signal killed", name the limit that was behind it. It must be
// called before Close.
func (c *Cell) Explain(reason string) string {
	if c.group == nil {
		return reason
	}
	if reason == "signal killed" && c.group.outOfMemory() {
		return fmt.Sprintf("oom (over its memory limit of %d MiB)", c.spec.Limits.Memory>>20)
	}
	if c.group.outOfPIDs() {
		return fmt.Sprintf("%s (pids: over its limit of %d processes and threads)", reason, c.spec.Limits.PIDs)
	}
	return reason
}

// Close removes what the cell leaves outside of the runtime folder, once every process in it has ended. Calling it again is
// harmless.
func (c *Cell) Close() error {
	c.closed.Do(func() {
		c.err = c.closeImage()
		if c.group == nil {
			return
		}
		c.err = errors.Join(c.err, c.group.remove())
		if err := os.Remove(c.record.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.err = errors.Join(c.err, err)
		}
	})
	return c.err
}
