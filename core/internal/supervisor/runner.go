package supervisor

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/instance"
)

// runner owns one module: its goroutine is the only one that asks the machine what to do. Launches, watches and stops run
// beside it, and report to it.
type runner struct {
	deps      Deps
	name      string
	attach    bool
	relatives relatives
	machine   *machine
	slots     []running
	dossiers  *dossiers

	// life is the context of what runs beside the runner. It outlasts run's, which ends before the instances are stopped.
	life context.Context

	begun       chan struct{} // closed when it no longer waits for its own dependencies
	settled     chan struct{} // closed once the module is ready, or known not to become so soon
	settledOnce sync.Once
	stopped     chan struct{} // closed when run has returned
	left        chan struct{} // closed when it is to stop while the platform goes on
	reports     chan func()   // what run does next; see report
	beside      sync.WaitGroup
	retiring    int          // instances that are being stopped
	launching   int          // launches that have not returned: one that was broken off still has a process to kill
	orders      []chan error // who waits for the module to settle
	stopReason  string
	upgrading   context.CancelFunc // breaks an upgrade off; nil if there is none
	quiet       []chan struct{}    // closed when no process is on its way up or down

	mu      sync.Mutex
	mod     *Module // what takes requests, or is to
	leaving bool    // it is stopped while the platform goes on
	status  Status
	broken  bool          // its migrations failed, or it is held: dependents are held too
	changed chan struct{} // closed, and made anew, when broken changes
}

// running is what a slot of the machine holds.
type running struct {
	instance *instance.Instance
	next     *instance.Instance // launched, and not admitted yet
	cancel   context.CancelFunc // of the launch or the wait that is under way
	watched  context.CancelFunc // ends the watch of instance
}

func newRunner(deps Deps, mod *Module, family relatives) *runner {
	instances := mod.instances()
	return &runner{
		deps: deps, name: mod.Manifest.Name, attach: mod.Attach, relatives: family, mod: mod,
		machine: newMachine(mod.Budget, instances, deps.Random),
		slots:   make([]running, instances), dossiers: openDossiers(deps.CrashDir, mod.Manifest.Name, deps.Log),
		begun: make(chan struct{}), settled: make(chan struct{}), stopped: make(chan struct{}), left: make(chan struct{}),
		reports: make(chan func()), changed: make(chan struct{}),
		status: Status{
			Wanted: instances, Name: mod.Manifest.Name, Version: mod.Manifest.Version, State: Starting, Since: time.Now(),
			Required: mod.Manifest.Runtime.Required, Instances: []Process{},
		},
	}
}

func (m *Module) instances() int { return max(1, int(m.Manifest.Runtime.Instances)) }

// module is what the instances are of; during an upgrade, the version before.
func (r *runner) module() *Module {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mod
}

func (r *runner) startTimeout() time.Duration { return r.module().startTimeout() }

// run is the module's life.
func (r *runner) run(ctx context.Context) {
	defer close(r.stopped)
	defer r.settle()
	r.life = context.WithoutCancel(ctx)
	r.publish()
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	r.beside.Go(func() { r.awaitDependencies(ctx) })
	for ctx.Err() == nil {
		select {
		case step := <-r.reports:
			step()
		case <-r.left:
			leave()
		case <-ctx.Done():
		}
	}
	r.shutDown()
}

func (r *runner) isLeaving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaving
}

// report makes run do something, and returns when it is done. It reports false if the module has been shut down.
func (r *runner) report(step func()) bool {
	done := make(chan struct{})
	select {
	case r.reports <- func() { defer close(done); step(); r.publish() }:
		<-done
		return true
	case <-r.stopped:
		return false
	}
}

// shutDown stops the instances once the modules that depend on this one have stopped theirs.
func (r *runner) shutDown() {
	why := errStopping
	if r.isLeaving() {
		why = errLeaving
	}
	r.deliver(why)
	r.stopReason = why.Error()
	r.breakOff()
	waiting := make(chan struct{})
	r.beside.Go(func() {
		defer close(waiting)
		for _, dependent := range r.relatives.leavingBefore(r) {
			<-dependent.stopped
		}
	})
	r.serveReports(waiting)
	r.perform(r.machine.stop())
	r.publish()
	finished := make(chan struct{})
	go func() { r.beside.Wait(); close(finished) }()
	r.serveReports(finished)
	r.publish()
}

// serveReports does what is reported until a channel is closed.
func (r *runner) serveReports(until <-chan struct{}) {
	for {
		select {
		case step := <-r.reports:
			step()
		case <-until:
			return
		}
	}
}

var (
	errStopping = errors.New("the platform is stopping")
	errLeaving  = errors.New("it is being taken out of the platform")
)

// perform carries out what the machine decided.
//
//nolint:contextcheck,nolintlint // what it begins lasts as the module does; contextcheck obeys this and does not count it
func (r *runner) perform(todo []action) {
	for _, a := range todo {
		switch a.do {
		case doLaunch:
			r.beginLaunch(a)
		case doWait:
			r.beginWait(a)
		case doAdmit:
			r.admit(a.slot)
		case doRetire:
			r.retire(r.slots[a.slot], r.module())
			r.slots[a.slot].instance = nil
		case doAbort:
			r.slots[a.slot].cancel()
		}
	}
}

// beginLaunch launches a process beside the runner.
func (r *runner) beginLaunch(a action) {
	ctx, cancel := context.WithCancel(r.life)
	r.slots[a.slot].cancel = cancel
	r.launching++
	mod := r.module()
	r.beside.Go(func() {
		defer r.report(func() { r.launching-- })
		defer cancel()
		l := &launch{deps: r.deps, mod: mod}
		if err := l.run(ctx); err != nil {
			r.report(func() { r.notLaunched(a, err) })
			r.fileFailedLaunch(err)
			return
		}
		kept := false
		r.report(func() { kept = r.launched(a, l) })
		if !kept {
			l.instance.Kill()
		}
	})
}

func (r *runner) launched(a action, l *launch) (kept bool) {
	todo, kept := r.machine.launched(a, time.Now())
	if !kept {
		return false
	}
	l.file()
	r.slots[a.slot].next = l.instance
	r.mu.Lock()
	r.status.StartMillis = l.took.Milliseconds()
	r.mu.Unlock()
	r.perform(todo)
	r.setBroken(false)
	return true
}

func (r *runner) notLaunched(a action, err error) {
	what, holds := classify(err)
	r.perform(r.machine.notLaunched(a, time.Now(), what, err.Error()))
	if unwanted(err) {
		return
	}
	r.log().Error("the module did not start", "error", err)
	if holds {
		r.setBroken(true)
	}
	if r.machine.wanted { // who waits for its stop did not ask for this launch
		r.deliver(err)
	}
}

// unwanted says that a launch was broken off on purpose.
func unwanted(err error) bool {
	return errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// beginWait reports when the wait is over.
func (r *runner) beginWait(a action) {
	ctx, cancel := context.WithTimeout(r.life, a.delay)
	r.slots[a.slot].cancel = cancel
	r.beside.Go(func() {
		defer cancel()
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return
		}
		r.report(func() { r.perform(r.machine.due(a)) })
	})
}

// admit lets the instance that was launched take requests, and retires the one before it.
func (r *runner) admit(i int) {
	s := &r.slots[i]
	before := *s
	s.instance, s.next = s.next, nil
	r.deps.Registry.Put(r.name, s.instance)
	r.beginWatch(s)
	if before.instance != nil {
		r.retire(before, r.module())
	}
}

func (r *runner) beginWatch(s *running) {
	ctx, cancel := context.WithCancel(r.life)
	s.watched = cancel
	inst := s.instance
	r.beside.Go(func() { r.watch(ctx, inst) })
}

// retire stops an instance of mod in order, beside the runner.
func (r *runner) retire(s running, mod *Module) {
	s.watched()
	r.deps.Registry.Withdraw(r.name, s.instance, public(Draining), false)
	r.retiring++
	r.beside.Go(func() {
		ctx, cancel := context.WithTimeout(r.life, time.Duration(mod.Manifest.Runtime.StopTimeout))
		defer cancel()
		s.instance.Stop(ctx)
		r.report(func() { r.retiring-- })
	})
}
