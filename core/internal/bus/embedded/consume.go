package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/platformd/platformd/core/internal/bus"
)

const (
	// ahead is for how long a consumer may have work before it: more would keep it from others who have time.
	ahead = 100 * time.Millisecond
	// maxAhead and maxAheadBytes are how much that is at most.
	maxAhead, maxAheadBytes = 128, 4 << 20
	// gather is how long an acknowledgement waits for others, as long as its consumer has work before it. Until then the deliveries
	// are held, and come again, with no attempt more, if this daemon is killed.
	gather = 20 * time.Millisecond
	// stuckAfter is when what waits for a handler is given back, because none has become free.
	stuckAfter = 250 * time.Millisecond
	// The pauses of a letter that could not be kept.
	firstKeep, lastKeep = 100 * time.Millisecond, 5 * time.Second
)

// consumer is one call that has deliveries handled. What is not constant is guarded by the bus.
type consumer struct {
	name   string // of the subscription
	tail   string // the pattern of a subscription of its own, that goes with it
	dead   bool   // it wants letters
	limit  int
	handle func(*delivery) settle

	over func() error // what has ended it, if anything

	running sync.WaitGroup
	sub     int64 // the subscription's id, as last seen
	queue   []*delivery
	busy    int
	stopped bool
	look    bool      // there may be something for it
	overdue bool      // above all something that is to be tried again
	due     time.Time // when there will be; zero: nobody knows of any

	began time.Time     // when it last took something from the queue
	mean  time.Duration // how long it takes; 0: not known
	size  int           // of an event, on average
}

// extra is how many it may have before it, besides those that are being handled.
func (c *consumer) extra() int {
	if c.mean == 0 || c.stopped {
		return 0
	}
	return min(maxAhead, int(ahead*time.Duration(c.limit)/c.mean), maxAheadBytes/max(c.size, 1))
}

// room is how many more it may have; 0, until half of those before it are begun: one transaction takes many.
func (c *consumer) room() int {
	extra := c.extra()
	if len(c.queue) > extra/2 {
		return 0
	}
	return c.limit + extra - c.busy - len(c.queue)
}

// Consume implements bus.Bus.
func (b *Bus) Consume(ctx context.Context, s bus.Subscription, how bus.Consumer) error {
	handling := context.WithoutCancel(ctx)
	return b.serve(ctx, &consumer{name: s.ID(), limit: max(1, how.Concurrency), handle: func(d *delivery) settle {
		if d.broken {
			return d.verdict(bus.Dead(d.why))
		}
		return d.verdict(how.Handle(handling, bus.Delivery{Event: d.event, Subscription: s.ID(), Attempt: d.attempts + 1}))
	}})
}

// DeadLetters implements bus.Bus.
func (b *Bus) DeadLetters(ctx context.Context, keep func(context.Context, bus.DeadLetter) error) error {
	handling, pause := context.WithoutCancel(ctx), time.Duration(0)
	return b.serve(ctx, &consumer{dead: true, limit: 1, handle: func(d *delivery) settle {
		err := keep(handling, bus.DeadLetter{
			ID: fmt.Sprint(d.seq, "-", d.sub), Subscription: d.name, Event: d.event, Failure: d.why, Attempts: d.attempts,
			At: time.UnixMicro(d.diedAt).UTC(),
		})
		if err == nil {
			pause = 0
			return d.ack()
		}
		pause = min(max(2*pause, firstKeep), lastKeep)
		again := d.release()
		again.after = pause
		return again
	}})
}

// Tail implements bus.Bus. It is a subscription that ends with the call. What comes faster than see takes it is left out.
func (b *Bus) Tail(ctx context.Context, pattern string, see func(bus.Event)) error {
	if pattern != "" {
		if err := bus.CheckPattern(pattern); err != nil {
			return err
		}
	} else {
		pattern = "*"
	}
	seen := make(chan bus.Event, 2*maxAhead)
	var showing sync.WaitGroup
	showing.Go(func() {
		for e := range seen {
			see(e)
		}
	})
	err := b.serve(ctx, &consumer{name: "tail:" + uuid.NewString(), tail: pattern, limit: 1, handle: func(d *delivery) settle {
		select {
		case seen <- d.event:
		default:
		}
		return d.ack()
	}})
	close(seen)
	showing.Wait()
	return err
}

// serve has a consumer work until ctx or the bus ends, and waits for what it has begun.
func (b *Bus) serve(ctx context.Context, c *consumer) error {
	if ctx.Err() != nil {
		return nil
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return bus.ErrClosed
	}
	b.calls.Add(1)
	defer b.calls.Done()
	c.over, c.look, c.overdue = ctx.Err, true, true
	b.consumers[c] = struct{}{}
	b.mu.Unlock()
	b.wake()
	err := error(nil)
	select {
	case <-ctx.Done():
	case <-b.open.Done():
		err = bus.ErrClosed
	}
	b.mu.Lock()
	c.stopped = true
	b.giveBack(c)
	if len(b.settles) > 0 {
		b.due.settle = time.Now()
	}
	b.mu.Unlock()
	b.wake()
	c.running.Wait()
	b.mu.Lock()
	delete(b.consumers, c)
	if c.tail != "" {
		b.gone = append(b.gone, c.name)
	}
	b.mu.Unlock()
	b.wake()
	return err
}

// giveBack frees what a consumer has not begun. The bus is locked.
func (b *Bus) giveBack(c *consumer) {
	for _, d := range c.queue {
		b.note(d.release(), 0)
	}
	c.queue = nil
}

// hand gives a consumer what was taken for it. The bus is locked.
func (b *Bus) hand(c *consumer, all []*delivery) {
	for _, d := range all {
		b.held[holding{d.deliveryID, d.holder}] = struct{}{}
		c.size += (len(d.event.Data) - c.size) / 8
	}
	if len(c.queue) == 0 {
		c.began = time.Now()
	}
	c.queue = append(c.queue, all...)
	if c.stopped {
		b.giveBack(c)
	}
	b.begin(c)
}

// begin has as many deliveries handled as may be at once. The bus is locked.
func (b *Bus) begin(c *consumer) {
	for c.busy < c.limit {
		d := b.next(c)
		if d == nil {
			return
		}
		c.busy++
		c.running.Go(func() { b.work(c, d) })
	}
}

// next takes what is to be handled next; nil: nothing. The bus is locked.
func (b *Bus) next(c *consumer) *delivery {
	if len(c.queue) == 0 || c.over() != nil || b.open.Err() != nil {
		return nil
	}
	d := c.queue[0]
	c.queue = c.queue[1:]
	c.began = time.Now()
	return d
}

// work has one delivery handled, and then what follows it.
func (b *Bus) work(c *consumer, d *delivery) {
	for d != nil {
		began := time.Now()
		verdict := c.handle(d)
		d = b.worked(c, verdict, time.Since(began))
	}
}

// worked notes a verdict, and returns what is to be handled next, if anything.
func (b *Bus) worked(c *consumer, verdict settle, took time.Duration) (next *delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if took = max(took, time.Microsecond); c.mean == 0 {
		c.mean = took
	}
	c.mean += (took - c.mean) / 8
	if next = b.next(c); next == nil {
		c.busy--
	}
	wait := time.Duration(0)
	if verdict.gone && next != nil {
		wait = gather
	}
	first := b.note(verdict, wait)
	if first || c.look && c.room() > 0 {
		b.wake()
	}
	return next
}

// note has the writer settle, with whatever else it does within the time; it reports whether the writer must be woken for that. The bus
// is locked.
func (b *Bus) note(s settle, within time.Duration) (sooner bool) {
	b.settles = append(b.settles, s)
	at := time.Now().Add(within)
	if sooner = b.due.settle.IsZero() || at.Before(b.due.settle); sooner {
		b.due.settle = at
	}
	return sooner
}
