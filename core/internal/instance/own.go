package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/wire"
)

const (
	// maxAnswer bounds what RunOwn reads, in bytes.
	maxAnswer = wire.MaxMessage
	// answerGrace is how long the answer of a process that has ended is still read. It is for a machine that is busy: nobody else
	// holds the pipes, and an answer that is cut off would make a failure of what was done.
	answerGrace = 10 * time.Second
)

// RunOwn runs our own binary with the arguments in a module's place: as its user, behind its fence, within its limits. It is
// given the input, and what it prints is returned; its standard error goes to the module's log. When ctx ends, or the core
// does, it is killed. An error means that it did not exit with 0.
func (l *Launcher) RunOwn(ctx context.Context, spec Spec, args []string, input []byte) ([]byte, error) {
	dir, err := l.newDir()
	if err != nil {
		return nil, &HostError{Err: err}
	}
	defer func() { l.tidy("remove the runtime folder", os.RemoveAll(dir)) }()
	cell, err := l.cell(spec, isolation.Spec{Runtime: dir, Own: args})
	if err != nil {
		return nil, &HostError{Err: err}
	}
	defer func() { l.tidy("remove what the process leaves", cell.Close()) }()
	output := &bounded{most: maxAnswer}
	cmd := cell.Command()
	cmd.Env = append(spec.Limits.Environment(), "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout = bytes.NewReader(input), output
	log := spec.Output()
	cmd.Stderr = log
	defer log.Close()
	cmd.WaitDelay = answerGrace
	err = l.runOwn(ctx, cell, cmd)
	if output.full && ctx.Err() == nil { // why it ended: nobody read on
		err = fmt.Errorf("the answer has over %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, err
	}
	return output.kept.Bytes(), nil
}

// tidy says what could not be cleared away. It is no failure: what was to be done has been, and the next start clears up.
func (l *Launcher) tidy(what string, err error) {
	if err != nil {
		l.log.Warn(what, "error", err)
	}
}

// runOwn starts the command, and returns when it has ended.
func (l *Launcher) runOwn(ctx context.Context, cell *isolation.Cell, cmd *exec.Cmd) error {
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return &HostError{Err: fmt.Errorf("make the lifeline: %w", err)}
	}
	defer lifeW.Close()
	cmd.ExtraFiles = []*os.File{lifeR}
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", wire.EnvLifeline, 3))
	cmd.SysProcAttr = sysProcAttr()
	err = l.onParent(func() error { return cell.Start(cmd) })
	closeAll(lifeR)
	if err != nil {
		return &HostError{Err: fmt.Errorf("start the process: %w", err)}
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Kill() // it has no children
		cell.Kill()
	})
	err = cmd.Wait()
	if !stop() {
		return fmt.Errorf("the process was ended: %w", context.Cause(ctx))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("the process ended: %s", cell.Explain(exitReason(exit.ProcessState)))
	}
	return err
}

// bounded keeps what is written, up to a limit. It embeds no buffer: io.Copy would fill that by its ReadFrom, past any limit.
type bounded struct {
	kept bytes.Buffer
	most int
	full bool // more came
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.kept.Len()+len(p) > b.most {
		b.full = true
		return 0, io.ErrShortWrite
	}
	return b.kept.Write(p)
}
