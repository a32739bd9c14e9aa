// Package instance is one running process of a module: Launch makes it, Instance talks to it, Registry finds it.
//
// Floor 3. It is the only importer of go-plugin in the core. It must not decide when to launch or relaunch (supervisor),
// nor what a request may do (gateway).
package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/isolation"
)

// maxSocketPath is what a unix socket's address holds on Linux, in bytes, without its final NUL.
const maxSocketPath = 107

// longestSocket is the longest name that go-plugin or we put below runDir, for the first million launches.
const longestSocket = "/999999/plugin-dir4294967295/plugin4294967295"

// Launcher starts module processes. It owns the one operating-system thread they are children of, and the folder that holds
// their sockets. Create it with NewLauncher; it is safe for concurrent use.
type Launcher struct {
	runDir  string
	log     hclog.Logger
	sandbox *isolation.Sandbox
	spawn   chan func()
	seq     atomic.Uint64

	imagesMu sync.Mutex
	images   map[string]image // by checksum: see Retain
}

// NewLauncher prepares runDir (created, or emptied of what an earlier run left, processes included) and the parent thread.
// Without a sandbox, modules run as we do.
func NewLauncher(runDir string, log hclog.Logger, sandbox *isolation.Sandbox) (*Launcher, error) {
	if len(runDir)+len(longestSocket) > maxSocketPath {
		return nil, fmt.Errorf("runtime folder %s: its sockets' paths would be over %d bytes (fix: set data.dir to a shorter path)",
			runDir, maxSocketPath)
	}
	if sandbox != nil {
		if err := sandbox.Sweep(runDir); err != nil {
			log.Warn("end what an earlier run left", "error", err)
		}
	}
	if err := os.RemoveAll(runDir); err != nil {
		return nil, fmt.Errorf("empty the runtime folder: %w", err)
	}
	if err := os.Mkdir(runDir, 0o700); err != nil { // not MkdirAll: nobody may have laid it out for us meanwhile
		return nil, fmt.Errorf("make the runtime folder: %w", err)
	}
	l := &Launcher{runDir: runDir, log: log, sandbox: sandbox, spawn: make(chan func()), images: map[string]image{}}
	go l.parent()
	return l, nil
}

// parent runs every fork on one thread that lives as long as the Launcher: the kernel sends a child its death signal when
// the thread that made it ends, not the process, and Go's other threads come and go.
func (l *Launcher) parent() {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	for start := range l.spawn {
		start()
	}
}

// Close releases the parent thread and removes the runtime folder. Every process that is still alive gets SIGKILL from the
// kernel, so stop the instances first.
func (l *Launcher) Close() error {
	close(l.spawn)
	return errors.Join(l.Retain(nil), os.RemoveAll(l.runDir))
}

// onParent runs start on the parent thread and returns its error.
func (l *Launcher) onParent(start func() error) error {
	result := make(chan error, 1)
	l.spawn <- func() { result <- start() }
	return <-result
}

func (l *Launcher) newDir() (string, error) {
	dir := filepath.Join(l.runDir, strconv.FormatUint(l.seq.Add(1), 10))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the instance's runtime folder: %w", err)
	}
	return dir, nil
}

// Spec is what Launch needs to know of a module.
type Spec struct {
	Name       string
	Executable string   // absolute path
	SHA256     string   // of the executable, in hex; "" = whatever is there. See Launcher.Retain
	Revision   string   // names what the process is of: see Instance.Revision
	Dir        string   // working directory of the process, and what it may read and execute
	Data       string   // folder that it may write and keeps, made at its launch; "" = none
	Consumes   []string // services of other modules that it calls, which Describe has it describe
	Limits     isolation.Limits
	Env        []string      // KEY=value; the process sees these, PATH-free, and go-plugin's own, nothing else
	Timeout    time.Duration // for process start and handshake together
	// Concurrency bounds the exchanges in progress, streams without end apart; 0 = no limit.
	Concurrency int
	// Services registers the core's gRPC services that this module may call.
	Services func(*grpc.Server)
	// Provides says that the module serves gRPC services to others.
	Provides bool
	// Calls serves the module's calls to others, whose socket it is given, until that is closed; nil if it calls none.
	Calls func(*Instance, *net.UnixListener)
	// Publications answers what the module publishes on a connection, until that or ctx ends; nil if it publishes nothing.
	Publications func(ctx context.Context, conn net.Conn)
	// Output opens one stream of what the process prints: standard error, and standard output after the handshake. Each
	// stream is written by one goroutine, in arbitrary pieces, and closed at its end; writes must not block for long.
	Output func() io.WriteCloser
}

// Launch starts the module's process and completes the handshake. On any error the whole process tree is dead and its
// runtime folder gone before Launch returns.
func (l *Launcher) Launch(ctx context.Context, spec Spec) (*Instance, error) {
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	dir, err := l.newDir()
	if err != nil {
		return nil, &HostError{Err: err}
	}
	inst := &Instance{spec: spec, dir: dir, log: l.log.With("module", spec.Name), drained: make(chan struct{})}
	if inst.proc, err = l.prepare(inst); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	inst.streams, inst.endStreams = context.WithCancel(context.Background())
	if err := inst.connect(ctx); err != nil {
		inst.discard()
		return nil, explain(ctx, inst.proc, err)
	}
	inst.started = time.Now()
	return inst, nil
}

// prepare makes what the process needs before it starts, in the instance's folder.
func (l *Launcher) prepare(inst *Instance) (_ *process, err error) {
	image, err := l.image(inst.spec)
	if err != nil {
		return nil, &HostError{Err: err}
	}
	inst.sha256 = image.sum
	if err := inst.listen(); err != nil {
		return nil, errors.Join(&HostError{Err: err}, image.close())
	}
	cell, err := l.cell(inst.spec, isolation.Spec{Runtime: inst.dir, Image: image.file})
	if err != nil {
		inst.endListening()
		return nil, errors.Join(err, image.close())
	}
	return newProcess(l, inst.spec, cell, inst.dir), nil
}

// cell makes what surrounds the process. What confined does not say is as in the module's spec.
func (l *Launcher) cell(spec Spec, confined isolation.Spec) (*isolation.Cell, error) {
	confined.Name, confined.Executable, confined.Limits = spec.Name, spec.Executable, spec.Limits
	confined.Dir, confined.Data = spec.Dir, spec.Data
	if l.sandbox == nil {
		return isolation.Open(confined), nil
	}
	cell, err := l.sandbox.Cell(confined)
	if err != nil {
		return nil, fmt.Errorf("isolate the process: %w", err)
	}
	return cell, nil
}

// explain prefers what we saw of the process over what go-plugin made of it.
func explain(ctx context.Context, proc *process, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("handshake: the module did not finish its handshake within its startTimeout")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if seen := proc.handshakeError(); seen != nil {
		return fmt.Errorf("handshake: %w", seen)
	}
	return fmt.Errorf("handshake: %w", err)
}
