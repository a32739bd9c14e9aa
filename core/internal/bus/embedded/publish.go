package embedded

import (
	"context"
	"fmt"
	"maps"

	"github.com/platformd/platformd/core/internal/bus"
)

// What goes into one transaction at most, unless one call's events do not fit.
const (
	maxEvents = 256
	maxBytes  = 4 << 20
)

// publication is one call's events, or as many of them as one transaction takes.
type publication struct {
	items  []item
	failed map[string]bool // keys of which the same call has an event that was not taken
	size   int
	done   chan struct{}
}

// item is an event on its way.
type item struct {
	event      bus.Event // a copy: the caller may leave while the writer is at it
	attributes string
	only       string // the one subscription that it is for; "": whoever wants it
	fault      error  // why it is not even tried
	err        error  // what became of it
}

// end answers the caller. err is that of all that could have been taken; nil: each has its own.
func (p *publication) end(err error) {
	if err != nil {
		for i := range p.items {
			if p.items[i].err = p.items[i].fault; p.items[i].err == nil {
				p.items[i].err = err
			}
		}
	}
	close(p.done)
}

// Publish implements bus.Bus.
func (b *Bus) Publish(ctx context.Context, events []bus.Event) []error {
	return b.publish(ctx, events, "")
}

// Redeliver implements bus.Bus.
func (b *Bus) Redeliver(ctx context.Context, subscription string, e bus.Event) error {
	if errs := b.publish(ctx, []bus.Event{e}, subscription); errs != nil {
		return fmt.Errorf("deliver %s %s to %s: %w", e.Type, e.ID, subscription, errs[0])
	}
	return nil
}

func (b *Bus) publish(ctx context.Context, events []bus.Event, only string) []error {
	errs, failed, any := make([]error, len(events)), map[string]bool{}, false
	bounded, cancel := context.WithTimeoutCause(ctx, callWait, bus.ErrUnavailable)
	defer cancel()
	for next := 0; next < len(events); {
		p := pack(events[next:], only)
		p.failed = maps.Clone(failed)
		err := b.send(bounded, p)
		for i := range p.items {
			if err == nil { // else the writer may still be at it
				errs[next+i] = p.items[i].err
			} else {
				errs[next+i] = err
			}
			if errs[next+i] != nil {
				any = true
				if key := events[next+i].Key; key != "" {
					failed[key] = true
				}
			}
		}
		next += len(p.items)
	}
	if !any {
		return nil
	}
	return errs
}

// pack takes as many events as one transaction takes, and at least one.
func pack(events []bus.Event, only string) *publication {
	p := &publication{done: make(chan struct{})}
	for i, e := range events {
		if i > 0 && (i == maxEvents || p.size+len(e.Data) > maxBytes) {
			break
		}
		it := item{event: e, only: only, fault: e.Check()}
		if it.fault == nil {
			if it.attributes, it.fault = encode(&e); it.fault != nil { // a year that has no four digits
				it.fault = fmt.Errorf("the event cannot be written: %w (fix: correct its time)", it.fault)
			}
			p.size += len(e.Data)
			it.event.Data = append(make([]byte, 0, len(e.Data)), e.Data...) // not nil
		}
		p.items = append(p.items, it)
	}
	return p
}

// send has the writer take a publication. Its items have their errors if it returns nil.
func (b *Bus) send(ctx context.Context, p *publication) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return bus.ErrClosed
	}
	b.publishes = append(b.publishes, p)
	b.mu.Unlock()
	b.wake()
	select {
	case <-p.done:
		return nil
	case <-b.alive.Done():
		return bus.ErrClosed
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, waiting := range b.publishes {
		if waiting == p {
			b.publishes = append(b.publishes[:i:i], b.publishes[i+1:]...)
		}
	}
	return context.Cause(ctx)
}
