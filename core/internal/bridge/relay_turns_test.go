package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Two daemons relay one outbox one after the other.
func TestTheOutboxIsTakenOver(t *testing.T) {
	t.Parallel()
	p := server(t)
	opened := make(chan error, 1000)
	watch := func(deps *Deps) {
		really := deps.OpenOutbox
		deps.OpenOutbox = func(ctx context.Context, module string) (Outbox, error) {
			box, err := really(ctx, module)
			return &watched{box, opened}, err
		}
	}
	one, two := p.daemon(), p.daemon(watch)
	got := one.receive(wanted)
	stop := one.run(blog)
	put(t, one.db, event("1", ""))
	requireIDs(t, got, "1")
	two.run(blog)
	require.ErrorIs(t, next(t, opened), ErrElsewhere)
	put(t, one.db, event("2", ""))
	requireIDs(t, got, "2")
	stop()
	put(t, one.db, event("3", ""))
	requireIDs(t, got, "3")
	require.NoError(t, last(opened))
}

// A daemon has one connection at a time to find out which outboxes are its own to empty; those that are keep theirs.
func TestOutboxesAreLookedAtOneByOne(t *testing.T) {
	t.Parallel()
	p := server(t)
	var looking, most, looked atomic.Int32
	d := p.daemon(func(deps *Deps) {
		really := deps.OpenOutbox
		deps.OpenOutbox = func(ctx context.Context, module string) (Outbox, error) {
			most.Store(max(most.Load(), looking.Add(1)))
			box, err := really(ctx, module)
			return &lookedAt{Outbox: box, done: sync.OnceFunc(func() { looking.Add(-1); looked.Add(1) })}, err
		}
	})
	names := []string{"blog", "shop", "desk"}
	var modules []Module
	for _, name := range names {
		modules = append(modules, Module{Name: name, Outbox: true}) // all of one database: one of them empties it
	}
	d.run(modules...)
	require.Eventually(t, func() bool { return looked.Load() >= int32(len(names)) }, patience, time.Millisecond)
	require.EqualValues(t, 1, most.Load())
}

// lookedAt is an Outbox that counts as looked at until it has been found free or not.
type lookedAt struct {
	Outbox
	done func()
}

// Next implements Outbox.
func (l *lookedAt) Next(ctx context.Context, limit int) ([]Outgoing, int64, error) {
	events, waiting, err := l.Outbox.Next(ctx, limit)
	l.done()
	return events, waiting, err
}

// Who empties an outbox is asked without opening it; how much is in it is counted now and then.
func TestStandingBy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		taken, asked := true, 0
		r := newRelay(New(Deps{Taken: func(context.Context, string) (bool, error) { asked++; return taken, nil }}), "blog")
		begun := time.Now()
		r.standBy(t.Context())
		require.Equal(t, countElsewhere*elsewhere, time.Since(begun))
		require.Equal(t, countElsewhere, asked)
		taken, begun = false, time.Now()
		r.standBy(t.Context())
		require.Equal(t, elsewhere, time.Since(begun))
	})
}

// last is the newest value that is there.
func last(from <-chan error) (err error) {
	for len(from) > 0 {
		err = <-from
	}
	return err
}

// watched is an Outbox of which is seen what Next returns.
type watched struct {
	Outbox
	seen chan<- error
}

// Next implements Outbox.
func (w *watched) Next(ctx context.Context, limit int) ([]Outgoing, int64, error) {
	events, waiting, err := w.Outbox.Next(ctx, limit)
	w.seen <- err
	return events, waiting, err
}

// boxes is an Outbox that answers in turn.
type boxes struct {
	mu      sync.Mutex
	answers []func() ([]Outgoing, int64, error)
}

// Next implements Outbox.
func (b *boxes) Next(context.Context, int) ([]Outgoing, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	answer := b.answers[0]
	if len(b.answers) > 1 {
		b.answers = slices.Delete(b.answers, 0, 1)
	}
	return answer()
}

// Remove implements Outbox.
func (*boxes) Remove(context.Context, []int64) error { return errors.New("it cannot be written") }

// Close implements Outbox.
func (*boxes) Close(context.Context) error { return nil }

// While an outbox cannot be read it keeps its number; what another daemon empties is told, too.
func TestTheBacklogIsNotAStaleOne(t *testing.T) {
	t.Parallel()
	r := newRelay(New(Deps{}), "blog")
	box := &boxes{answers: []func() ([]Outgoing, int64, error){
		func() ([]Outgoing, int64, error) { return nil, 7, nil },
		func() ([]Outgoing, int64, error) { return nil, 0, errors.New("away") },
		func() ([]Outgoing, int64, error) { return nil, 3, ErrElsewhere },
	}}
	_, err := r.next(t.Context(), box)
	require.NoError(t, err)
	require.EqualValues(t, 7, r.backlog.Load())
	_, err = r.next(t.Context(), box)
	require.ErrorContains(t, err, "away")
	require.EqualValues(t, 7, r.backlog.Load(), "what waited still does")
	_, err = r.next(t.Context(), box)
	require.ErrorIs(t, err, ErrElsewhere)
	require.EqualValues(t, 3, r.backlog.Load())
	require.ErrorContains(t, r.forget(t.Context(), box, []int64{1}), "forget 1 published events: it cannot be written")
}

// A module makes its database when it first starts: that is no failure.
func TestAnOutboxMayComeLater(t *testing.T) {
	t.Parallel()
	p := server(t)
	var tries atomic.Int32
	log := &lines{}
	d := p.daemon(func(deps *Deps) {
		really := deps.OpenOutbox
		deps.Log = log.logger()
		deps.OpenOutbox = func(ctx context.Context, module string) (Outbox, error) {
			if tries.Add(1) == 1 {
				return nil, fmt.Errorf("open blog: %w", fs.ErrNotExist)
			}
			return really(ctx, module)
		}
	})
	got := d.receive(wanted)
	put(t, d.db, event("1", ""))
	d.run(blog)
	requireIDs(t, got, "1")
	require.Zero(t, log.count("tried again"))
}
