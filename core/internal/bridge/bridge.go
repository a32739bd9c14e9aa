// Package bridge stands between modules and the event bus. It hands each delivery to the module that subscribed, says what becomes of
// it, and keeps what came to nothing; and it takes events out of the modules' outboxes and publishes them, whether or not the
// module runs.
//
// Floor 4. It must not know how the bus keeps events, nor start modules.
package bridge

import (
	"context"
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
	// OpenOutbox opens the outbox of a module.
	OpenOutbox func(ctx context.Context, module string) (Outbox, error)
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
	relays  map[string]*relay // by module; not changed after New
	modules []Module
}

// New returns the bridge for these modules. Nothing happens before Run.
func New(deps Deps, modules []Module) *Bridge {
	if deps.Log == nil {
		deps.Log = hclog.NewNullLogger()
	}
	b := &Bridge{Deps: deps, metrics: newMetrics(deps.Metrics), relays: make(map[string]*relay), modules: modules}
	for _, m := range modules {
		if m.Outbox {
			b.relays[m.Name] = newRelay(b, m.Name)
		}
	}
	return b
}

// Run works until ctx ends, and returns when every delivery that had begun is finished.
func (b *Bridge) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { b.keepDead(ctx) })
	for _, m := range b.modules {
		all.Go(func() { b.serve(ctx, m) })
	}
	for _, r := range b.relays {
		all.Go(func() { r.run(ctx) })
	}
}

// Wake has the outbox of a module looked at now. It returns at once, and is no error for a module without one.
func (b *Bridge) Wake(module string) {
	if r := b.relays[module]; r != nil {
		r.wake()
	}
}

// Backlog tells how many events wait in the outbox of each module that has one.
func (b *Bridge) Backlog() map[string]int64 {
	backlog := make(map[string]int64, len(b.relays))
	for name, r := range b.relays {
		backlog[name] = r.backlog.Load()
	}
	return backlog
}

// keepDead moves dead letters from the bus to where operators find them.
func (b *Bridge) keepDead(ctx context.Context) {
	for again := b.newRetry(); ; {
		err := b.Bus.DeadLetters(ctx, func(ctx context.Context, l bus.DeadLetter) error {
			if err := b.Keep(ctx, l); err != nil {
				return err
			}
			b.metrics.dead.WithLabelValues(l.Subscription, l.Failure.Reason).Inc()
			b.Log.Warn("an event became a dead letter", "id", l.ID, "subscription", l.Subscription, "event", l.Event.ID, "type",
				l.Event.Type, "reason", l.Failure.Reason, "attempts", l.Attempts, "error", l.Failure.Error,
				"fix", "see what is wrong: platformd dlq show "+l.ID+"; then: platformd dlq retry "+l.ID)
			return nil
		})
		if ctx.Err() != nil || !again.wait(ctx, "collect dead letters", err) {
			return
		}
	}
}
