package amqp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/platformd/platformd/core/internal/bus"
)

// Declare implements bus.Bus.
func (b *Bus) Declare(ctx context.Context, module string, subscriptions []bus.Subscription) error {
	for _, s := range subscriptions {
		if err := bus.CheckPattern(s.Pattern); err != nil {
			return fmt.Errorf("subscriptions of module %s: %w", module, err)
		}
		if s.Module != module {
			return fmt.Errorf("subscription %s is not of module %s (fix: declare each module's own)", s.ID(), module)
		}
	}
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		return err
	}
	defer leave()
	select {
	case b.declaring <- struct{}{}:
		defer func() { <-b.declaring }()
	case <-ctx.Done():
		return b.ended(ctx, nil)
	}
	err = b.onBroker(ctx, func(s *session) error {
		return b.alone(s, func() error { return b.declare(ctx, s, declaration{module, subscriptions}) })
	})
	if err != nil {
		return fmt.Errorf("declare the subscriptions of module %s: %w", module, err)
	}
	return nil
}

// declare writes into the ledger before it makes or removes anything, so that whenever it is killed, no queue is forgotten, and
// no daemon that consumed one makes it again.
func (b *Bus) declare(ctx context.Context, s *session, d declaration) error {
	before, err := b.ledger(ctx)
	if err != nil {
		return err
	}
	changed, going := d.compare(before)
	if changed = append(changed, going...); len(changed) > 0 {
		if err := b.o.Ledger.Put(ctx, changed); err != nil {
			return fmt.Errorf("remember them: %w", err)
		}
	}
	if err := b.establish(s, d.wanted); err != nil || len(going) == 0 {
		return err
	}
	if err := b.remove(s, going); err != nil {
		return err
	}
	if err := b.o.Ledger.Remove(ctx, going); err != nil {
		return fmt.Errorf("forget those that are gone: %w", err)
	}
	return nil
}

// declaration is what a module declares.
type declaration struct {
	module string
	wanted []bus.Subscription
}

// compare tells which rows the ledger must get, and which subscriptions are to go.
func (d declaration) compare(before []Entry) (changed, going []Entry) {
	for _, s := range d.wanted {
		if e := (Entry{Subscription: s}); !slices.Contains(before, e) {
			changed = append(changed, e)
		}
	}
	for _, e := range before {
		if e.Module == d.module && !has(d.wanted, e.Subscription) {
			e.Going = true
			going = append(going, e)
		}
	}
	return changed, going
}

func has(subscriptions []bus.Subscription, s bus.Subscription) bool {
	return slices.ContainsFunc(subscriptions, func(other bus.Subscription) bool { return other.ID() == s.ID() })
}

func (b *Bus) ledger(ctx context.Context) ([]Entry, error) {
	all, err := b.o.Ledger.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read which subscriptions there are: %w", err)
	}
	return all, nil
}

// subscriptions are those of all modules.
func (b *Bus) subscriptions(ctx context.Context) (all []bus.Subscription, err error) {
	entries, err := b.ledger(ctx)
	for _, e := range entries {
		if !e.Going {
			all = append(all, e.Subscription)
		}
	}
	return all, err
}

// ownLedger is the Ledger of a bus that has none.
type ownLedger struct {
	mu   sync.Mutex
	rows map[string]Entry
}

// All implements Ledger.
func (l *ownLedger) All(context.Context) ([]Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.rows)), nil
}

// Put implements Ledger.
func (l *ownLedger) Put(_ context.Context, entries []Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		l.rows[e.ID()] = e
	}
	return nil
}

// Remove implements Ledger.
func (l *ownLedger) Remove(_ context.Context, entries []Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range entries {
		delete(l.rows, e.ID())
	}
	return nil
}

// wanted tells whether a subscription is still one: what was removed, perhaps by another daemon, is not made again.
func (b *Bus) wanted(ctx context.Context, s bus.Subscription) (bool, error) {
	all, err := b.subscriptions(ctx)
	return has(all, s), err
}
