// Package bridge stands between modules and the event bus. It hands each delivery to the module that subscribed, says what
// becomes of it, and keeps what came to nothing; and it takes events out of the modules' outboxes and publishes them, whether or
// not the module runs.
//
// Floor 4. It must not know how the bus keeps events, nor start modules.
package bridge

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/instance"
)

// Deps is what a Bridge needs.
type Deps struct {
	Bus       bus.Bus
	Instances *instance.Registry
	// Keep puts a dead letter where operators find it.
	Keep func(context.Context, bus.DeadLetter) error
	// Admit returns an event from a module's outbox as the module may publish it. An error says why it may not; the event has the
	// module's source nevertheless, by which its dead letter is known.
	Admit func(module string, e bus.Event) (bus.Event, error)
	// OpenOutbox opens the outbox of a module.
	OpenOutbox func(ctx context.Context, module string) (Outbox, error)
	// Taken tells, without opening it, whether somebody empties the outbox of a module; nil: nobody knows.
	Taken func(ctx context.Context, module string) (bool, error)
	// Metrics gets the counters; nil: nobody counts.
	Metrics prometheus.Registerer
	Log     hclog.Logger
}

// Module is what the bridge does for one module.
type Module struct {
	Name          string
	Subscriptions []Subscription
	// Outbox says that there may be events in the module's own database.
	Outbox bool
}

// Subscription is what a module's manifest says about one.
type Subscription struct {
	Pattern string
	// Version is the newest one of the events' data that the module knows.
	Version     int
	Concurrency int
	Ordered     bool
	Timeout     time.Duration // of one attempt
	Attempts    int           // after so many the delivery dies
}

// Bridge is safe for concurrent use.
type Bridge struct {
	Deps
	metrics *metrics
	// looking holds one while a relay finds out whether an outbox is its own to empty: until then each has a connection to a
	// database which, with many daemons and modules, has few.
	looking chan struct{}

	declared chan struct{} // closed when the subscriptions of every first module are: nothing may be published before

	mu      sync.Mutex // guards the rest
	relays  map[string]*relay
	working map[string]*work
	begin   func(m Module, declared func()) *work // nil while nothing runs
	early   map[string]*Module                    // joined before Run, or left (nil); nil: Run has been called
}

// work is what goes on for one module.
type work struct {
	module Module
	stop   context.CancelFunc
	ended  chan struct{} // closed when it has, and every delivery that had begun is finished
}

// New returns a bridge that does nothing before Run.
func New(deps Deps) *Bridge {
	if deps.Log == nil {
		deps.Log = hclog.NewNullLogger()
	}
	if deps.Taken == nil {
		deps.Taken = func(context.Context, string) (bool, error) { return false, nil }
	}
	return &Bridge{
		Deps: deps, metrics: newMetrics(deps.Metrics), looking: make(chan struct{}, 1), declared: make(chan struct{}),
		relays: map[string]*relay{}, working: map[string]*work{}, early: map[string]*Module{},
	}
}

// Run works for these modules, and for those that join, until ctx ends, and returns when every delivery that had begun is
// finished. It is called once.
func (b *Bridge) Run(ctx context.Context, modules []Module) {
	var all, declaring sync.WaitGroup
	defer all.Wait()
	all.Go(func() { b.keepDead(ctx) })
	b.mu.Lock()
	b.begin = func(m Module, declared func()) *work { return b.work(ctx, &all, m, declared) }
	for _, m := range b.first(modules) {
		declaring.Add(1)
		b.working[m.Name] = b.begin(m, sync.OnceFunc(declaring.Done))
	}
	b.mu.Unlock()
	declaring.Wait()
	if ctx.Err() == nil {
		close(b.declared)
	}
	<-ctx.Done()
	b.mu.Lock()
	b.begin = nil
	b.mu.Unlock()
}

// first returns the modules that Run was given, with what has joined and left before. The caller holds the lock.
func (b *Bridge) first(modules []Module) (all []Module) {
	for _, m := range modules {
		if _, changed := b.early[m.Name]; !changed {
			all = append(all, m)
		}
	}
	for _, m := range b.early {
		if m != nil {
			all = append(all, *m)
		}
	}
	b.early = nil
	return all
}

// work begins what is to be done for a module. The caller holds the lock.
func (b *Bridge) work(ctx context.Context, all *sync.WaitGroup, m Module, declared func()) *work {
	ctx, stop := context.WithCancel(ctx)
	w := &work{module: m, stop: stop, ended: make(chan struct{})}
	var parts sync.WaitGroup
	parts.Go(func() { b.serve(ctx, m, declared) })
	if m.Outbox {
		r := newRelay(b, m.Name)
		b.relays[m.Name] = r
		parts.Go(func() { r.run(ctx) })
	}
	all.Go(func() {
		defer close(w.ended)
		parts.Wait()
	})
	return w
}

// WorksFor tells whether the bridge does for a module exactly what m says.
func (b *Bridge) WorksFor(m Module) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.working[m.Name]
	return w != nil && reflect.DeepEqual(w.module, m)
}

// Join has the bridge work for one more module. It returns at once: what is published before the bus has declared the module's
// subscriptions does not reach new ones. A module that it works for must Leave before it can join as something else.
func (b *Bridge) Join(m Module) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.early != nil:
		b.early[m.Name] = &m
		return
	case b.begin == nil || b.working[m.Name] != nil:
		return
	}
	b.working[m.Name] = b.begin(m, func() {})
}

// Leave has the bridge work for a module no more, and returns when every delivery that had begun is finished, or ctx ends. What
// is published meanwhile waits in the bus, and in the module's outbox.
func (b *Bridge) Leave(ctx context.Context, module string) {
	b.mu.Lock()
	if b.early != nil {
		b.early[module] = nil
	}
	w := b.working[module]
	delete(b.working, module)
	delete(b.relays, module)
	b.mu.Unlock()
	if w == nil {
		return
	}
	w.stop()
	select {
	case <-w.ended:
	case <-ctx.Done():
	}
}

// look waits until no other relay finds out whether an outbox is free. leave may be called more than once.
func (b *Bridge) look(ctx context.Context) (leave func(), err error) {
	select {
	case b.looking <- struct{}{}:
		return sync.OnceFunc(func() { <-b.looking }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *Bridge) isDeclared() bool {
	select {
	case <-b.declared:
		return true
	default:
		return false
	}
}

// Publish is the bus's, once every subscription is declared: before, an event would not reach those that are not.
func (b *Bridge) Publish(ctx context.Context, events []bus.Event) []error {
	ctx, cancel := context.WithTimeout(ctx, directWait)
	defer cancel()
	select {
	case <-b.declared:
		return b.Bus.Publish(ctx, events)
	case <-ctx.Done():
	}
	errs := make([]error, len(events))
	for i := range errs {
		errs[i] = fmt.Errorf("the subscriptions are not declared yet: %w", bus.ErrUnavailable)
	}
	return errs
}

// Wake has the outbox of a module looked at now. It returns at once, and does nothing for a module without one.
func (b *Bridge) Wake(module string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.relays[module]; r != nil {
		r.wake()
	}
}

// Backlog tells how many events wait in the outbox of each module that has one.
func (b *Bridge) Backlog() map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	backlog := make(map[string]int64, len(b.relays))
	for name, r := range b.relays {
		backlog[name] = r.backlog.Load()
	}
	return backlog
}

// keepDead moves dead letters from the bus to where operators find them.
func (b *Bridge) keepDead(ctx context.Context) {
	for again := b.newRetry(); ; {
		err := b.Bus.DeadLetters(ctx, b.keep)
		if ctx.Err() != nil || !again.wait(ctx, "collect dead letters", err) {
			return
		}
	}
}

func (b *Bridge) keep(ctx context.Context, l bus.DeadLetter) error {
	if err := b.Keep(ctx, l); err != nil {
		return err
	}
	b.metrics.dead.WithLabelValues(l.Subscription, l.Failure.Reason).Inc()
	b.Log.Warn("an event became a dead letter", "id", l.ID, "subscription", l.Subscription, "event", l.Event.ID, "type",
		l.Event.Type, "reason", l.Failure.Reason, "attempts", l.Attempts, "error", l.Failure.Error,
		"fix", "see what is wrong: platformd dlq show "+l.ID+"; then: platformd dlq retry "+l.ID)
	return nil
}
