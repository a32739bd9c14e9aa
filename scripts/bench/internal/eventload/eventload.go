// Package eventload loads an event bus from inside of a contestant: so many callers publish one event at a time, each its next
// one when the last is published or, end to end, when it has been handled. Every contestant runs it in the process that publishes
// and consumes, and hands it both ends.
//
// It must not know any bus.
package eventload

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/orders"
)

// What is published, by everybody.
const (
	Type    = "bench.thing.happened"
	Subject = "thing"
	Size    = 512 // of an event's data, in bytes
	// Window is how many deliveries a contestant has at once.
	Window = 256
)

// Path is where a contestant takes orders.
const Path = handler.Prefix + "/events"

const (
	publishPatience = 30 * time.Second       // for one event
	settlePatience  = 2 * time.Minute        // for all that was published
	rest            = 100 * time.Millisecond // in which nothing comes, when nothing more will
)

// Kinds of orders.
const (
	Publish orders.Kind = "publish" // from the call until it returns; what is published is not handled before Settle
	Deliver orders.Kind = "deliver" // from the call until the event is handled
	Settle  orders.Kind = "settle"  // nothing: everything that was published is handled
)

// Load is one contestant's, and takes its orders.
type Load struct {
	*orders.Desk
	publish func(ctx context.Context, id string, data []byte) error
	prefix  string
	number  atomic.Int64

	published, came, handled atomic.Int64

	mu      sync.Mutex
	waiting map[string]chan struct{} // who waits for the handling of an event
	open    chan struct{}            // closed while events are handled
}

// New loads the bus by publish, which returns when an event is kept.
func New(publish func(ctx context.Context, id string, data []byte) error) *Load {
	l := &Load{publish: publish, prefix: rand.Text()[:8], waiting: map[string]chan struct{}{}, open: make(chan struct{})}
	l.Desk = orders.New(l.run)
	close(l.open)
	return l
}

// Handle is called for every event that comes, before it is acknowledged.
func (l *Load) Handle(ctx context.Context, id string) error {
	l.came.Add(1)
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-open:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.handled.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if done := l.waiting[id]; done != nil {
		delete(l.waiting, id)
		close(done)
	}
	return nil
}

func (l *Load) run(ctx context.Context, o orders.Order) (latency.Sample, error) {
	l.gate(o.Kind != Publish)
	switch o.Kind {
	case Settle:
		return latency.Sample{}, l.settle(ctx)
	case Publish:
		if err := l.fill(ctx); err != nil {
			return latency.Sample{}, err
		}
		return o.Measure(ctx, l.publishOne), nil
	case Deliver:
		return o.Measure(ctx, l.deliverOne), nil
	}
	return latency.Sample{}, fmt.Errorf("nobody knows how to %q", o.Kind)
}

// gate has events handled, or keeps them waiting.
func (l *Load) gate(open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		if !open {
			l.open = make(chan struct{})
		}
	default:
		if open {
			close(l.open)
		}
	}
}

// fill publishes so much that whoever consumes has all that it takes at once, and does nothing any more.
func (l *Load) fill(ctx context.Context) error {
	for range Window {
		if err := l.publishOne(ctx); err != nil {
			return err
		}
	}
	for came := int64(-1); came != l.came.Load(); {
		came = l.came.Load()
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// settle waits until all that was published is handled.
func (l *Load) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for l.handled.Load() < l.published.Load() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("of %d events only %d were handled", l.published.Load(), l.handled.Load())
		}
	}
	return nil
}

func (l *Load) publishOne(ctx context.Context) error { return l.send(ctx, l.next()) }

func (l *Load) send(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	if err := l.publish(ctx, id, data(id)); err != nil {
		return err
	}
	l.published.Add(1)
	return nil
}

func (l *Load) deliverOne(ctx context.Context) error {
	id, done := l.next(), make(chan struct{})
	l.mu.Lock()
	l.waiting[id] = done
	l.mu.Unlock()
	if err := l.send(ctx, id); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-time.After(publishPatience):
		return fmt.Errorf("the event %s was published, and not delivered", id)
	}
}

func (l *Load) next() string { return fmt.Sprintf("%s-%d", l.prefix, l.number.Add(1)) }

// filler is what an event says.
var filler = strings.Repeat("x", Size)

// data is JSON of Size bytes.
func data(id string) []byte {
	const begin, middle, end = `{"id":"`, `","text":"`, `"}`
	text := make([]byte, 0, Size)
	text = append(append(append(text, begin...), id...), middle...)
	text = append(text, filler[:Size-len(text)-len(end)]...)
	return append(text, end...)
}
