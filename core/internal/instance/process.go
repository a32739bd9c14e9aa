package instance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/wire"
)

const (
	// maxHandshakeLine bounds what is read of standard output before the handshake; a real line is some 1.5 KiB.
	maxHandshakeLine = 16 << 10
	// outputGrace is how long the output of a dead process is still read. A grandchild may hold the pipes for ever.
	outputGrace = 200 * time.Millisecond
)

// process is one operating-system process of a module and its descendants. It implements go-plugin's runner.Runner, because
// go-plugin's own learns of an exit only when the last holder of the output pipes is gone, and inherits our environment.
type process struct {
	launcher *Launcher
	spec     Spec
	dir      string
	cell     *isolation.Cell
	cmd      *exec.Cmd

	lifeline  *os.File      // our end; closing it, or dying, tells the module to leave
	done      chan struct{} // closed when the process is reaped and its group killed
	output    sync.WaitGroup
	handshake *io.PipeReader // the one line go-plugin may see
	stderr    *io.PipeReader // always empty: we read the real one ourselves
	eof       *io.PipeWriter // write end of stderr

	mu           sync.Mutex
	pid          int  // 0 until started
	alive        bool // started and not reaped: its pid, and so its group, is still its own
	aborted      bool
	killed       bool // by us, before it ended
	handshakeErr error
	reason       string // why the process ended; set before done is closed
}

func newProcess(l *Launcher, spec Spec, cell *isolation.Cell, dir string) *process {
	p := &process{launcher: l, spec: spec, cell: cell, dir: dir, done: make(chan struct{})}
	p.stderr, p.eof = io.Pipe()
	return p
}

// Start implements runner.Runner. The environment is what go-plugin put on cmd, which with SkipHostEnv is its own alone.
func (p *process) Start(ctx context.Context) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make the output pipe: %w", err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("make the log pipe: %w", err), outR.Close(), outW.Close())
	}
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("make the lifeline: %w", err), outR.Close(), outW.Close(), errR.Close(), errW.Close())
	}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = nil, outW, errW
	p.cmd.ExtraFiles = []*os.File{lifeR}
	p.cmd.SysProcAttr = sysProcAttr()
	err = p.launcher.onParent(func() error { return p.cell.Start(p.cmd) })
	closeAll(outW, errW, lifeR)
	if err != nil {
		closeAll(outR, errR, lifeW)
		return &HostError{Err: fmt.Errorf("start the process: %w", err)}
	}
	p.lifeline = lifeW
	aborted := p.nowAlive()
	p.follow(outR, errR)
	if aborted || ctx.Err() != nil {
		p.kill()
	}
	return nil
}

// abort kills the process if there is one yet; if not, Start will as soon as there is.
func (p *process) abort() {
	p.mu.Lock()
	p.aborted = true
	p.mu.Unlock()
	p.kill()
}

// kill ends the process and all that descends from it. Whatever limit it had touched is then no reason for its end.
func (p *process) kill() {
	p.mu.Lock()
	p.killed = p.killed || p.alive
	p.mu.Unlock()
	p.killTree()
}

func (p *process) nowAlive() (aborted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive, p.pid = true, p.cmd.Process.Pid
	return p.aborted
}

func (p *process) nowReaped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive = false
}

// prepare takes over the command go-plugin made: its environment, ours added. Of two values of a name the last one counts, so
// that a manifest which lets GOMAXPROCS, GOMEMLIMIT or GOGC through (runtime.env) knows better than its limits.
func (p *process) prepare(env []string) {
	p.cmd = p.cell.Command()
	env = append(append(env, p.spec.Limits.Environment()...), p.spec.Env...)
	p.cmd.Env = append(env, "TMPDIR="+p.dir, wire.EnvLifeline+"="+strconv.Itoa(3))
}

// follow owns the three goroutines that watch a live process: both outputs and the exit.
func (p *process) follow(stdout, stderr *os.File) {
	line, writer := io.Pipe()
	p.handshake = line
	p.output.Add(2)
	go func() {
		defer p.output.Done()
		p.readStdout(stdout, writer)
	}()
	go func() {
		defer p.output.Done()
		p.copyOutput(stderr)
	}()
	go func() {
		p.awaitExit()
		p.endOutput(stdout, stderr)
		_ = writer.Close()
		_ = p.eof.Close()
		_ = p.lifeline.Close()
		close(p.done)
	}()
}

// awaitExit returns when the process itself has ended, whoever still holds its pipes, and its group is killed.
func (p *process) awaitExit() {
	err := p.reap()
	reason := "exit 0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		reason = exitReason(exit.ProcessState)
	} else if err != nil {
		reason = err.Error()
	}
	p.mu.Lock()
	if !p.killed {
		reason = p.cell.Explain(reason)
	}
	p.reason = reason
	p.mu.Unlock()
}

func (p *process) endOutput(stdout, stderr *os.File) {
	drained := make(chan struct{})
	go func() { p.output.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(outputGrace):
	}
	closeAll(stdout, stderr) // unblocks the readers if a grandchild holds the other end
	<-drained
}

// readStdout checks the handshake line before go-plugin may act on it, then treats the rest as log.
func (p *process) readStdout(stdout io.Reader, handshake *io.PipeWriter) {
	reader := bufio.NewReaderSize(stdout, maxHandshakeLine)
	raw, err := reader.ReadSlice('\n')
	line := strings.TrimRight(string(raw), "\r\n")
	if err == nil {
		err = errors.Join(checkHandshake(line, p.dir), checkSocket(line, p.dir))
	} else {
		err = p.noHandshake(line, err)
	}
	if err != nil {
		p.fail(err)
		_ = handshake.CloseWithError(err)
	} else {
		_, _ = io.WriteString(handshake, line+"\n")
	}
	p.copyOutput(reader)
}

func (p *process) noHandshake(line string, err error) error {
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("the first line on standard output is over %d bytes: %s (fix: print nothing before pluginapi.Serve)",
			maxHandshakeLine, excerpt(line))
	case line == "":
		return errors.New("the process ended before it printed its handshake line (fix: read its log; is it a platformd module?)")
	}
	return fmt.Errorf("the process ended after printing only %s", excerpt(line))
}

// copyOutput hands one stream on until it ends.
func (p *process) copyOutput(r io.Reader) {
	out := p.spec.Output()
	_, _ = io.Copy(out, r) // the log never refuses; a read error is the end of the stream
	_ = out.Close()
}

func (p *process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handshakeErr == nil {
		p.handshakeErr = err
	}
}

func (p *process) handshakeError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handshakeErr
}

// exit is why the process ended, such as "exit 2" or "signal killed"; empty while it lives.
func (p *process) exit() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason
}

// checkHandshake accepts only what a module of ours prints: gRPC on a unix socket inside its own runtime folder. go-plugin
// would dial any address that it is told.
func checkHandshake(line, dir string) error {
	parts := strings.Split(line, "|")
	if len(parts) < 5 {
		return fmt.Errorf("the first line on standard output is %s, not a handshake (fix: print nothing before pluginapi.Serve)",
			excerpt(line))
	}
	if parts[1] != strconv.Itoa(wire.ProtocolVersion) {
		return fmt.Errorf("the module speaks protocol version %s, this platformd speaks %d (fix: rebuild the module with its SDK)",
			excerpt(parts[1]), wire.ProtocolVersion)
	}
	if parts[4] != "grpc" {
		return fmt.Errorf("the module speaks %s, only grpc is accepted", excerpt(parts[4]))
	}
	if parts[2] != "unix" || !inside(parts[3], dir) {
		return fmt.Errorf("the module listens on %s %s, only a unix socket in its runtime folder is accepted",
			excerpt(parts[2]), excerpt(parts[3]))
	}
	return nil
}

// checkSocket refuses what only looks like a socket inside the folder: by a symbolic link a module could have go-plugin dial
// any other one. Should the module put a link there a moment later, there is still TLS, for which only the module has the key.
func checkSocket(line, dir string) error {
	parts := strings.Split(line, "|")
	if len(parts) < 5 || !inside(parts[3], dir) {
		return nil // checkHandshake has said so
	}
	resolved, err := filepath.EvalSymlinks(filepath.Dir(parts[3]))
	if err != nil {
		return fmt.Errorf("look at the module's socket: %w", err)
	}
	folder, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("look at the module's socket: %w", err)
	}
	info, err := os.Lstat(parts[3])
	if err != nil {
		return fmt.Errorf("look at the module's socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket || resolved != folder && !inside(resolved, folder) {
		return fmt.Errorf("the module listens on %s, which is no socket of its runtime folder", excerpt(parts[3]))
	}
	return nil
}

func excerpt(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
