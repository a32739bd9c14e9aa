package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func TestTheRelayKeepsTheOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		d := p.daemon()
		got := d.receive(bus.Subscription{Module: "reader", Pattern: "blog.*", Ordered: true})
		all, ids := events(2*relayBatch+3, "k") // more than one batch
		put(p.t, d.db, all...)
		d.run(blog)
		requireIDs(p.t, got, ids...)
		awaitEmpty(p.t, d.db)
		require.Eventually(p.t, func() bool { return d.Backlog()["blog"] == 0 }, patience, 10*time.Millisecond)
	})
}

// What is put in when nobody wakes the relay is found nevertheless, and at once when somebody does.
func TestTheRelayIsWoken(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		d := p.daemon()
		got := d.receive(wanted)
		d.Wake("blog") // it does not run yet
		d.run(blog)
		began := time.Now()
		const often = 10
		for i := range often {
			put(p.t, d.db, event(fmt.Sprint("woken", i), ""))
			d.Wake("blog")
			d.Wake("nobody")
			requireIDs(p.t, got, fmt.Sprint("woken", i))
		}
		require.Less(p.t, time.Since(began), often*lookAnyway/2, "it did not wait until it looks anyway")
		put(p.t, d.db, event("found", ""))
		requireIDs(p.t, got, "found")
	})
}

// An event that nobody wants, and one that may not be published, leave the outbox: nothing waits for them.
func TestWhatCannotBePublishedLeaves(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		registry := prometheus.NewRegistry()
		d := p.daemon(func(deps *Deps) { deps.Metrics = registry })
		got := d.receive(bus.Subscription{Module: "reader", Pattern: "blog.made"})
		bad, foreign, unwanted := event("bad", "k"), event("broken", "k"), event("unwanted", "k")
		bad.Type, foreign.Type, unwanted.Type = "blog.bad", "no type", "blog.unwanted"
		put(p.t, d.db, event("first", "k"), bad, unwanted, foreign, event("last", "k"))
		d.run(blog)
		requireIDs(p.t, got, "first", "last")
		awaitEmpty(p.t, d.db)
		for _, id := range []string{"bad", "broken"} {
			l := next(p.t, d.letters)
			require.Equal(p.t, id, l.Event.ID)
			require.Equal(p.t, source, l.Event.Source, "or nobody knows whose it was")
			require.Equal(p.t, bus.ReasonRefused, l.Failure.Reason)
			require.NotEmpty(p.t, l.Failure.Error)
			require.Empty(p.t, l.Subscription)
			require.Equal(p.t, 1, l.Attempts)
			require.WithinDuration(p.t, time.Now(), l.At, patience)
		}
		require.Empty(p.t, d.letters)
		for outcome, n := range map[string]float64{"published": 2, "unwanted": 1, "refused": 2} {
			require.InDelta(p.t, n, testutil.ToFloat64(d.metrics.relayed.WithLabelValues("blog", outcome)), 0, outcome)
		}
	})
}

// A dead letter has the same ID when it is kept again, and no other event has it, whatever numbers a module's database gives.
func TestDeadLettersOfTheOutboxHaveTheirOwnIDs(t *testing.T) {
	t.Parallel()
	r := newRelay(New(Deps{}), "blog")
	id := r.letterID(Outgoing{1, event("1", "")})
	require.Equal(t, id, r.letterID(Outgoing{1, event("1", "")}))
	later := event("1", "")
	later.Time = time.Unix(2, 0)
	for _, other := range []Outgoing{{2, event("1", "")}, {1, event("2", "")}, {1, later}} {
		require.NotEqual(t, id, r.letterID(other))
	}
	require.NotEqual(t, id, newRelay(r.bridge, "shop").letterID(Outgoing{1, event("1", "")}))
}

// While dead letters cannot be kept, what is refused stays.
func TestRefusedEventsStayUntilTheyAreKept(t *testing.T) {
	t.Parallel()
	p := server(t)
	var down atomic.Bool
	down.Store(true)
	tried := make(chan string, 100)
	d := p.daemon(func(deps *Deps) {
		deps.Keep = func(_ context.Context, l bus.DeadLetter) error {
			tried <- l.ID
			if down.Load() {
				return errors.New("the database is away")
			}
			return nil
		}
	})
	bad := event("bad", "")
	bad.Type = "blog.bad"
	put(t, d.db, bad)
	d.run(blog)
	first := next(t, tried)
	require.Equal(t, first, next(t, tried))
	require.Equal(t, []string{"bad"}, left(t, d.db))
	down.Store(false)
	awaitEmpty(t, d.db)
}

// A bus that is away costs neither an event nor the order, also where it takes some of a batch.
func TestABusThatFailsKeepsRowsAndOrder(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		var calls atomic.Int32
		failed := make(chan int64, 100)
		var d *daemon
		d = p.daemon(func(deps *Deps) {
			deps.Bus = &faulty{Bus: deps.Bus, publish: func(ctx context.Context, all []bus.Event, really func(context.Context,
				[]bus.Event) []error,
			) []error {
				n := int(calls.Add(1))
				if n > 3 {
					return really(ctx, all)
				}
				errs := make([]error, len(all))
				if took := really(ctx, all[:n]); took != nil { // each time a little more
					return errs
				}
				for i := n; i < len(all); i++ {
					errs[i] = bus.ErrSkipped
				}
				errs[n] = bus.ErrUnavailable
				failed <- d.Backlog()["blog"]
				return errs
			}}
		})
		got := d.receive(bus.Subscription{Module: "reader", Pattern: "blog.*", Ordered: true})
		all, ids := events(20, "k")
		put(p.t, d.db, all...)
		d.run(blog)
		requireIDs(p.t, got, ids...)
		require.EqualValues(p.t, 20, <-failed)
		require.EqualValues(p.t, 19, <-failed)
		require.EqualValues(p.t, 17, <-failed)
		awaitEmpty(p.t, d.db)
		require.Empty(p.t, got, "nothing was published twice: what the bus had taken was forgotten")
	})
}

// The first failure after something worked is told again: else the second outage of a daemon would be a silent one.
func TestEachOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	log := &lines{}
	r := New(Deps{Log: log.logger()}).newRetry()
	ended, cancel := context.WithCancel(t.Context())
	cancel() // it need not wait
	broken := errors.New("broken")
	for range 2 {
		require.False(t, r.wait(ended, "try", broken))
		r.wait(ended, "try", broken)
	}
	require.Equal(t, 1, log.count("tried again"))
	r.well()
	r.wait(ended, "try", broken)
	require.Equal(t, 2, log.count("tried again"))
	r.wait(ended, "try", nil)
	r.wait(ended, "try", broken)
	require.Equal(t, 3, log.count("tried again"))
}

func TestNothingIsPublishedBeforeAllIsDeclared(t *testing.T) {
	t.Parallel()
	onEach(t, func(p *place) {
		may := make(chan struct{})
		var published atomic.Int32
		d := p.daemon(func(deps *Deps) {
			deps.Bus = &faulty{
				Bus: deps.Bus,
				declare: func(ctx context.Context, really func(context.Context) error) error {
					select {
					case <-may:
						return really(ctx)
					default:
						return bus.ErrUnavailable
					}
				},
				publish: func(ctx context.Context, all []bus.Event, really func(context.Context, []bus.Event) []error) []error {
					published.Add(1)
					return really(ctx, all)
				},
			}
		})
		put(p.t, d.db, event("1", ""))
		stop := d.run(blog, Module{Name: "notify", Subscriptions: []Subscription{
			{Pattern: "blog.*", Version: 1, Concurrency: 1, Timeout: time.Second, Attempts: 1},
		}})
		ctx, cancel := context.WithTimeout(p.t.Context(), 50*time.Millisecond)
		defer cancel()
		errs := d.Publish(ctx, []bus.Event{event("2", ""), event("3", "")})
		require.Len(p.t, errs, 2)
		for _, err := range errs {
			require.ErrorIs(p.t, err, bus.ErrUnavailable)
			require.ErrorContains(p.t, err, "(fix: ")
		}
		require.Zero(p.t, published.Load())
		require.Equal(p.t, []string{"1"}, left(p.t, d.db))
		close(may)
		awaitEmpty(p.t, d.db)
		two := event("2", "")
		two.Source = source
		require.Nil(p.t, d.Publish(p.t.Context(), []bus.Event{two}))
		pending, err := d.Bus.Pending(p.t.Context())
		require.NoError(p.t, err)
		require.EqualValues(p.t, 2, pending["notify:blog.*"].Ready)
		stop()
	})
}

// A caller is not kept, whatever his own patience is.
func TestPublishIsBounded(t *testing.T) {
	t.Parallel()
	d := New(Deps{})
	began := time.Now()
	errs := d.Publish(t.Context(), []bus.Event{event("1", "")})
	require.ErrorIs(t, errs[0], bus.ErrUnavailable)
	require.GreaterOrEqual(t, time.Since(began), directWait)
	require.Less(t, time.Since(began), directWait+patience)
}

// What can never be declared, such as a queue with other arguments, does not keep everybody else from publishing.
func TestWhatCannotBeDeclaredHoldsUpNobody(t *testing.T) {
	t.Parallel()
	p := server(t)
	d := p.daemon(func(deps *Deps) {
		deps.Bus = &faulty{Bus: deps.Bus, declare: func(ctx context.Context, really func(context.Context) error) error {
			if err := really(ctx); err != nil {
				return err
			}
			return errors.New("the queue has other arguments")
		}}
	})
	d.run(Module{Name: "notify", Subscriptions: []Subscription{{Pattern: "blog.*", Version: 1, Timeout: time.Second}}})
	one := event("1", "")
	one.Source = source
	require.Nil(t, d.Publish(t.Context(), []bus.Event{one}))
}

func TestPausesGrowWithinBounds(t *testing.T) {
	t.Parallel()
	require.Zero(t, pauseAfter(0))
	for attempts := 1; attempts < 70; attempts++ {
		want := min(firstPause<<min(attempts-1, 30), lastPause)
		for range 20 {
			got := pauseAfter(attempts)
			require.GreaterOrEqual(t, got, want/2, "%d", attempts)
			require.LessOrEqual(t, got, want+want/2, "%d", attempts)
		}
	}
	require.LessOrEqual(t, pauseAfter(1<<40), lastPause+lastPause/2)
	require.False(t, pause(ended(t), time.Hour))
	require.True(t, pause(t.Context(), time.Millisecond))
}

func ended(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
