package instance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/wire"
)

// maxAnswer bounds what RunOwn reads, in bytes.
const maxAnswer = maxMessage

// RunOwn runs our own binary with the arguments in a module's place: as its user, behind its fence, within its limits. It is given
// the input, and what it prints is returned; its standard error goes to the module's log. When ctx ends, or the core does, it is
// killed. An error means that it did not exit with 0.
func (l *Launcher) RunOwn(ctx context.Context, spec Spec, args []string, input []byte) (answer []byte, err error) {
	dir, err := l.newDir()
	if err != nil {
		return nil, &HostError{Err: err}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cell, err := l.cell(spec, dir, args)
	if err != nil {
		return nil, &HostError{Err: err}
	}
	defer func() { err = errors.Join(err, cell.Close()) }()
	output := &bounded{most: maxAnswer}
	cmd := cell.Command()
	cmd.Env = append(spec.Limits.Environment(), "TMPDIR="+dir)
	cmd.Stdin, cmd.Stdout = bytes.NewReader(input), output
	log := spec.Output()
	cmd.Stderr = log
	defer log.Close()
	cmd.WaitDelay = outputGrace
	err = l.runOwn(ctx, cell, cmd)
	if output.over != nil {
		err = output.over // what the process made of its broken pipe says less
	}
	if err != nil {
		return nil, err
	}
	return output.buffer.Bytes(), nil
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

// bounded keeps what is written, up to a limit. It does not embed the buffer, whose ReadFrom knows no limit.
type bounded struct {
	buffer bytes.Buffer
	most   int
	over   error
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.buffer.Len()+len(p) > b.most {
		b.over = fmt.Errorf("the answer has over %d bytes: %w", b.most, io.ErrShortWrite)
		return 0, b.over
	}
	return b.buffer.Write(p)
}
