package bustest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

// place is where one test's daemons meet.
type place struct {
	*testing.T
	open func() bus.Bus
	kill func(bus.Bus)
}

// daemon opens the bus of one more daemon.
func (p *place) daemon() bus.Bus {
	p.Helper()
	b := p.open()
	p.Cleanup(func() { p.ends("Close", func() { _ = b.Close() }) }) // it may have been closed, or killed
	return b
}

// ends fails if what must end does not.
func (p *place) ends(what string, do func()) {
	p.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	p.within(what, done)
}

// within waits for a channel to be closed, or to have a value.
func (p *place) within(what string, done <-chan struct{}) {
	p.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		p.Fatalf("%s does not come to its end", what)
	}
}

// eventually waits until what holds.
func (p *place) eventually(what string, holds func() bool) {
	p.Helper()
	require.Eventually(p.T, holds, patience, 10*time.Millisecond, what)
}

// declared is a daemon whose module "notify" has one subscription of each pattern.
func (p *place) declared(patterns ...string) (bus.Bus, []bus.Subscription) {
	p.Helper()
	b := p.daemon()
	subscriptions := make([]bus.Subscription, len(patterns))
	for i, pattern := range patterns {
		subscriptions[i] = bus.Subscription{Module: "notify", Pattern: pattern}
	}
	p.declare(b, subscriptions...)
	return b, subscriptions
}

// ordered is a daemon with an ordered subscription.
func (p *place) ordered() (bus.Bus, bus.Subscription) {
	p.Helper()
	b, s := p.daemon(), bus.Subscription{Module: "notify", Pattern: "blog.post.*", Ordered: true}
	p.declare(b, s)
	return b, s
}

func (p *place) declare(b bus.Bus, subscriptions ...bus.Subscription) {
	p.Helper()
	require.NoError(p.T, b.Declare(p.Context(), "notify", subscriptions))
}

func (p *place) publish(b bus.Bus, events ...bus.Event) {
	p.Helper()
	require.Nil(p.T, b.Publish(p.Context(), events))
}

// event is a new one of a type; the key is its own if none is given.
func event(eventType string, key ...string) bus.Event {
	e := bus.Event{
		ID: uuid.NewString(), Source: "/modules/blog", Type: eventType, Version: 1, Time: time.Now().UTC(),
		ContentType: "application/json", Data: []byte(`{"title":"A"}`),
	}
	if len(key) > 0 {
		e.Key = key[0]
	}
	return e
}

// some are n events of a type, of which each has its number as its subject.
func some(n int, eventType string, key ...string) []bus.Event {
	all := make([]bus.Event, n)
	for i := range all {
		all[i] = event(eventType, key...)
		all[i].Subject = fmt.Sprint(i)
	}
	return all
}

func ids(events []bus.Event) []string {
	all := make([]string, len(events))
	for i := range events {
		all[i] = events[i].ID
	}
	return all
}

// call is one that goes on until its context ends.
type call struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (p *place) call(run func(context.Context) error) *call {
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	c := &call{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = run(ctx)
	}()
	p.Cleanup(func() { _ = p.stop(c) })
	return c
}

// stop ends a call, and returns its error.
func (p *place) stop(c *call) error {
	p.Helper()
	c.cancel()
	p.within("a call whose context has ended", c.done)
	return c.err
}

func (p *place) consume(b bus.Bus, s bus.Subscription, c bus.Consumer) *call {
	return p.call(func(ctx context.Context) error { return b.Consume(ctx, s, c) })
}

func (p *place) deadLetters(b bus.Bus, keep func(context.Context, bus.DeadLetter) error) *call {
	return p.call(func(ctx context.Context) error { return b.DeadLetters(ctx, keep) })
}

// box keeps what comes.
type box[T any] struct {
	mu  sync.Mutex
	got []T
	in  chan struct{} // has a value after something came
}

func newBox[T any]() *box[T] { return &box[T]{in: make(chan struct{}, 1)} }

func (b *box[T]) put(what T) {
	b.mu.Lock()
	b.got = append(b.got, what)
	b.mu.Unlock()
	select {
	case b.in <- struct{}{}:
	default:
	}
}

func (b *box[T]) all() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]T(nil), b.got...)
}

// wait returns what came, as soon as it is n or more. One may wait at a time.
func (b *box[T]) wait(p *place, n int) []T {
	p.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		got := b.all()
		if len(got) >= n {
			return got
		}
		select {
		case <-b.in:
		case <-timeout.C:
			p.Fatalf("%d came, not %d: %v", len(got), n, got)
		}
	}
}

// inbox has each delivery of one consumer.
type inbox struct {
	*box[bus.Delivery]
	*call
}

// receive consumes one at a time; verdict nil acknowledges.
func (p *place) receive(b bus.Bus, s bus.Subscription, verdict func(bus.Delivery) bus.Verdict) *inbox {
	in := &inbox{box: newBox[bus.Delivery]()}
	in.call = p.consume(b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) (v bus.Verdict) {
		if verdict != nil {
			v = verdict(d)
		}
		in.put(d)
		return v
	}})
	return in
}

func (i *inbox) ids() []string {
	var all []string
	for _, d := range i.all() {
		all = append(all, d.Event.ID)
	}
	return all
}

// gate lets handlers wait: each says that it is there, and goes on when the test lets it, or has ended.
type gate struct {
	entered *box[bus.Delivery]
	open    context.Context
	let     context.CancelFunc
	inside  atomic.Int64
}

func (p *place) gate() *gate {
	g := &gate{entered: newBox[bus.Delivery]()}
	g.open, g.let = context.WithCancel(p.Context()) // which ends before the cleanups wait for handlers
	return g
}

func (g *gate) handle(_ context.Context, d bus.Delivery) bus.Verdict {
	g.inside.Add(1)
	defer g.inside.Add(-1)
	g.entered.put(d)
	<-g.open.Done()
	return bus.Ack()
}

// behind consumes with handlers that wait at a gate.
func (p *place) behind(g *gate, b bus.Bus, s bus.Subscription, concurrency int) *call {
	return p.consume(b, s, bus.Consumer{Concurrency: concurrency, Handle: g.handle})
}

// holding waits until n deliveries of a subscription are not finished.
func (p *place) holding(b bus.Bus, s bus.Subscription, n int64) {
	p.Helper()
	p.eventually(fmt.Sprint(s.ID(), " has ", n), func() bool { return p.total(b, s) == n })
}

// total is how many deliveries of a subscription are not finished; -1 if it is not there.
func (p *place) total(b bus.Bus, s bus.Subscription) int64 {
	p.Helper()
	backlog, ok := p.pending(b)[s.ID()]
	if !ok {
		return -1
	}
	return backlog.Ready + backlog.Waiting + backlog.InFlight
}

func (p *place) pending(b bus.Bus) map[string]bus.Backlog {
	p.Helper()
	all, err := b.Pending(p.Context())
	require.NoError(p.T, err)
	return all
}

// finished waits until nothing of the subscriptions is left.
func (p *place) finished(b bus.Bus, subscriptions ...bus.Subscription) {
	p.Helper()
	for _, s := range subscriptions {
		p.holding(b, s, 0)
	}
}
