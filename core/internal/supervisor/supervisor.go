// Package supervisor keeps modules running: one goroutine per module launches it, waits for its end, and relaunches it.
//
// Floor 4. It must not route requests (gateway), find instances for others (registry), or know how a migration or a core
// service works: the daemon hands it functions for those.
package supervisor

import (
	"context"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// Module is what the supervisor runs: a catalog entry and what config.yaml says about it.
type Module struct {
	*catalog.Module
	Config []byte // JSON, validated
	Budget Budget
	Env    []string
	// Attach leaves the module to a debugger: nothing asks whether it hangs.
	Attach bool
	Data   string // folder that its process may write; "" = none
	// SQL are its migrations where those are files, as they were when the module was read.
	SQL []sqlfiles.Migration
}

// Deps is what the supervisor works with. Every field is required.
type Deps struct {
	Launcher *instance.Launcher
	Registry *instance.Registry
	Log      hclog.Logger
	// Migrate runs the module's pending migrations in the instance; ids are all that its binary declares.
	Migrate func(ctx context.Context, mod *Module, inst *instance.Instance, ids []string) error
	// Database gives the instance, which is about to be initialised, access to the module's data; it is called only if the
	// manifest grants a database. What it gives is the instance's until its end.
	Database func(ctx context.Context, mod *Module, inst *instance.Instance) (*modulev1.Database, error)
	// Services returns what the module may ask of the core.
	Services func(mod *Module) func(*grpc.Server)
	// Calls returns what serves the module's calls to other modules, as instance.Spec.Calls; nil if it makes none.
	Calls func(mod *Module) func(*instance.Instance, *net.UnixListener)
	// Publications returns what answers the module's publications, as instance.Spec.Publications; nil if it publishes nothing.
	Publications func(mod *Module) func(context.Context, net.Conn)
	// Agree returns an error if the module was built to call others in another form than theirs, so that it must not start; consumed
	// is what it says of that (DescribeResponse.consumed). What it returns is called if the instance comes to take requests; nil
	// is nothing to call.
	Agree func(mod *Module, consumed []byte) (file func(), err error)
	// Verify returns an error if an instance that is otherwise ready does not serve the gRPC services of its manifest; a successor
	// is one whose module goes on without it, so that it must fit those who call it, too. What it returns is as Agree's.
	Verify func(ctx context.Context, mod *Module, inst *instance.Instance, successor bool) (file func(), err error)
	// Output opens one stream of what the module prints.
	Output func(module string) io.WriteCloser
	// Changed is told of every change of a module's status, in order per module; it must not block.
	Changed func(Status)
	// LogTail returns the newest n records of what a module logged, oldest first.
	LogTail func(module string, n int) []logs.Entry
	// CrashDir is the folder in which crashes are kept; made when there is one.
	CrashDir string
	// Random returns numbers in [0, 1); it is called by every module's goroutine.
	Random func() float64
}

// Supervisor runs modules. Its methods are safe for concurrent use.
type Supervisor struct {
	deps    Deps
	mu      sync.RWMutex // guards the rest
	runners map[string]*runner
	begin   func(*runner) // lets a runner run; nil while modules are not run
}

// New returns a Supervisor that runs nothing yet.
func New(deps Deps) *Supervisor { return &Supervisor{deps: deps, runners: make(map[string]*runner)} }

// Load says which modules Run is to run first. It is called once, before anything else.
func (s *Supervisor) Load(modules []*Module) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, mod := range modules {
		s.runners[mod.Manifest.Name] = newRunner(s.deps, mod, relatives{s})
	}
}

// Run starts the loaded modules, each after those it depends on, and keeps them, and those that are added, running until ctx
// ends; then it stops them, each after those that depend on it, and returns when every process is dead. It is called once.
func (s *Supervisor) Run(ctx context.Context) {
	var all sync.WaitGroup
	s.mu.Lock()
	s.begin = func(r *runner) { all.Go(func() { r.run(ctx) }) }
	for _, r := range s.runners {
		s.begin(r)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.begin = nil
	s.mu.Unlock()
	all.Wait()
}

func (s *Supervisor) snapshot() []*runner {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(s.runners), func(a, b *runner) int { return strings.Compare(a.name, b.name) })
}

// Settled returns when every module is ready or known not to become so soon.
func (s *Supervisor) Settled(ctx context.Context) error {
	for _, r := range s.snapshot() {
		select {
		case <-r.settled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Statuses returns every module's status, sorted by name.
func (s *Supervisor) Statuses() []Status {
	runners := s.snapshot()
	statuses := make([]Status, len(runners))
	for i, r := range runners {
		statuses[i] = r.current()
	}
	return statuses
}
