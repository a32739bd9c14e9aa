package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// An event is stored once, and goes with the last of its deliveries, however that goes.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		all := []bus.Subscription{subscription, {Pattern: "blog.made"}, {Pattern: "blog.made.*"}, {Pattern: "shop.*"}}
		b := p.declared(all...)
		require.Nil(t, b.Publish(t.Context(), events(10)))
		require.Equal(t, 10, rows(t, b, "bus_events"))
		require.Equal(t, 20, rows(t, b, "bus_deliveries"))
		require.NoError(t, b.Declare(t.Context(), "notify", all[:1]))
		require.Equal(t, 10, rows(t, b, "bus_events"))
		require.Equal(t, 10, rows(t, b, "bus_deliveries"))
		other := p.daemon()
		got := receive(t, other, subscription)
		for range 10 {
			next(t, got)
		}
		empty(t, b)

		ctx, cancel := context.WithCancel(t.Context())
		seen, ended := make(chan bus.Event, 100), make(chan error, 1)
		go func() { ended <- other.Tail(ctx, "", func(e bus.Event) { seen <- e }) }()
		require.Eventually(t, func() bool {
			require.Nil(t, b.Publish(ctx, events(1)))
			return len(seen) > 0
		}, patience, 10*time.Millisecond)
		cancel()
		require.NoError(t, next(t, ended))
		empty(t, b)
		require.Eventually(t, func() bool { return rows(t, b, "bus_subscriptions") == 1 }, patience, 10*time.Millisecond)

		require.Nil(t, b.Publish(t.Context(), events(10)))
		require.NoError(t, b.Declare(t.Context(), "notify", nil))
		empty(t, b)
	})
}

// A daemon that is killed while somebody looks through it leaves no subscription that nobody empties.
func TestTailsOfDaemonsThatAreGone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		a, b := p.declared(subscription), p.open()
		seen, ended := make(chan bus.Event, 100), make(chan error, 1)
		go func() { ended <- b.Tail(t.Context(), "", func(e bus.Event) { seen <- e }) }()
		require.Eventually(t, func() bool {
			require.Nil(t, a.Publish(t.Context(), events(1)))
			return len(seen) > 0
		}, patience, 10*time.Millisecond)
		b.die()
		require.ErrorIs(t, next(t, ended), bus.ErrClosed)
		require.Nil(t, a.Publish(t.Context(), events(1)))
		expire(t, b)
		receive(t, a, subscription)
		empty(t, a)
		require.Equal(t, 1, rows(t, a, "bus_subscriptions"))
		require.NoError(t, b.Close())
	})
}

func TestTheLeaseIsRenewedAndEnds(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		p.o.Lease, p.o.look = 2*time.Second, 100*time.Millisecond
		a := p.open()
		require.NoError(t, a.Declare(t.Context(), "notify", []bus.Subscription{subscription}))
		require.Nil(t, a.Publish(t.Context(), events(1)))
		taken, let := hold(t, a, subscription, bus.Ack())
		next(t, taken)
		b := p.daemon()
		got := receive(t, b, subscription)
		expires := func() (at int64) {
			require.NoError(t, a.db.Raw("SELECT MAX(expires_at) FROM bus_holders").Scan(&at).Error)
			return at
		}
		for first := expires(); expires() < first+2*p.o.Lease.Microseconds(); { // longer than one lease
			require.Empty(t, got)
		}
		a.die()
		require.Equal(t, "0", next(t, got))
		let()
		require.NoError(t, a.Close())
	})
}

func TestADaemonThatIsBackHasWhatItHad(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		p.o.Daemon, p.o.Lease = "first", time.Hour
		a := p.open()
		require.NoError(t, a.Declare(t.Context(), "notify", []bus.Subscription{subscription}))
		require.Nil(t, a.Publish(t.Context(), events(1)))
		taken, let := hold(t, a, subscription, bus.Ack())
		next(t, taken)
		a.die()
		let()
		require.NoError(t, a.Close())
		require.Equal(t, "0", next(t, receive(t, p.daemon(), subscription)))
	})
}

// A daemon that was silent, as on a machine that slept, has no say about what others have taken back meanwhile, and goes on.
func TestALeaseThatIsLost(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		p.o.look = 100 * time.Millisecond
		a := p.declared(subscription)
		require.Nil(t, a.Publish(t.Context(), events(1)))
		taken, let := hold(t, a, subscription, bus.Dead(bus.Failure{Reason: bus.ReasonDropped}))
		next(t, taken)
		b := p.daemon()
		again, letAgain := hold(t, b, subscription, bus.Ack())
		expire(t, a)
		next(t, again)
		let()
		require.Eventually(t, func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.held) == 0
		}, patience, 10*time.Millisecond)
		require.Equal(t, 1, rows(t, b, "bus_deliveries WHERE state = 2"), "it is the other's")
		require.Nil(t, a.Publish(t.Context(), events(1)))
		next(t, taken)
		letAgain()
		require.Eventually(t, func() bool { return rows(t, b, "bus_deliveries WHERE state = 3") == 1 }, patience, 10*time.Millisecond)
	})
}

// What a transaction took although it seemed to have failed is given back.
func TestWhatADaemonDoesNotKnowThatItHas(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		b := p.declared(subscription)
		got := receive(t, b, subscription)
		require.Nil(t, b.Publish(t.Context(), events(1)))
		next(t, got)
		empty(t, b)
		require.Nil(t, b.Publish(t.Context(), []bus.Event{event(7, "")}))
		next(t, got)
		empty(t, b)
		other := bus.Subscription{Module: "notify", Pattern: "blog.made"}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{subscription, other}))
		require.Nil(t, b.Publish(t.Context(), []bus.Event{event(8, "")}))
		require.Equal(t, "8", next(t, got))
		b.mu.Lock()
		holder := b.holder
		b.mu.Unlock()
		require.NoError(t, b.db.Exec("UPDATE bus_deliveries SET state = 2, holder = ?", holder).Error)
		b.failed(&work{asks: []*ask{{c: &consumer{}}}}, errors.New("the answer was lost"))
		b.wake()
		require.Equal(t, "8", next(t, receive(t, b, other)))
	})
}

// Nothing is asked of the database while nothing happens, except on a server, every few seconds.
func TestNoPolling(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		p.o.look = time.Hour
		b := p.declared(subscription)
		got := receive(t, b, subscription)
		require.Nil(t, b.Publish(t.Context(), events(1)))
		next(t, got)
		empty(t, b)
		require.Eventually(t, func() bool {
			w, wait := b.plan(time.Time{})
			if w != nil {
				require.NoError(t, b.do(w))
			}
			return w == nil && wait > 20*time.Minute
		}, patience, 10*time.Millisecond)
	})
}

// What is ready is heard of: nobody looks for an hour.
func TestDaemonsWakeEachOther(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		p.o.look = time.Hour
		ordered := bus.Subscription{Module: "notify", Pattern: "blog.made", Ordered: true}
		a := p.declared(subscription, ordered)
		b := p.daemon()
		got, one := receive(t, b, subscription), receive(t, b, ordered)
		for n := range 5 {
			require.Nil(t, a.Publish(t.Context(), []bus.Event{event(n, "key")}))
			require.Equal(t, fmt.Sprint(n), next(t, got))
			require.Equal(t, fmt.Sprint(n), next(t, one))
		}
		if a.server { // who is cut off hears again, and looks for what was said meanwhile
			require.NoError(t, a.db.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "+
				"WHERE datname = current_database() AND query LIKE 'LISTEN%'").Error)
			for n := range 5 {
				require.Nil(t, a.Publish(t.Context(), []bus.Event{event(n, "key")}))
				require.Equal(t, fmt.Sprint(n), next(t, got))
			}
		}
		require.NoError(t, a.Close())
	})
}

func TestAMissedNotification(t *testing.T) {
	t.Parallel()
	p := places()["postgresql"](t)
	p.o.look = 50 * time.Millisecond
	b := p.declared(subscription)
	consume(t, b, subscription, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		if d.Attempt == 1 {
			return bus.Retry(time.Hour, bus.Failure{})
		}
		return bus.Ack()
	}})
	require.Nil(t, b.Publish(t.Context(), events(1)))
	require.Eventually(t, func() bool { return rows(t, b, "bus_deliveries WHERE due > 0") == 1 }, patience, 10*time.Millisecond)
	require.NoError(t, b.db.Exec("UPDATE bus_deliveries SET due = 0").Error)
	empty(t, b)
}

// Consumers that have work before them and get stuck let others have it.
func TestStuck(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		const quick, all = 100, 300
		subscriptions := []bus.Subscription{subscription, {Module: "notify", Pattern: "blog.made"}}
		a, b := p.declared(subscriptions...), p.daemon()
		require.Nil(t, a.Publish(t.Context(), events(all)))
		stuck := make(chan struct{}, 2)
		for _, s := range subscriptions {
			var count atomic.Int64
			consume(t, a, s, bus.Consumer{Handle: func(context.Context, bus.Delivery) bus.Verdict {
				if count.Add(1) > quick {
					stuck <- struct{}{}
					<-t.Context().Done()
				}
				return bus.Ack()
			}})
		}
		next(t, stuck)
		next(t, stuck)
		for _, s := range subscriptions {
			got := receive(t, b, s)
			for range all - quick - 1 {
				next(t, got)
			}
		}
	})
}

func TestMuchAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		ordered := bus.Subscription{Module: "notify", Pattern: "blog.*", Ordered: true}
		b := p.declared(ordered)
		all := append(events(600, "one"), events(30, "two")...)
		for i := range 30 {
			all[600+i].Data = make([]byte, bus.MaxData)
			all[600+i].Subject = fmt.Sprint("big", i)
		}
		require.Nil(t, b.Publish(t.Context(), all))
		got := receive(t, b, ordered)
		one, two := 0, 0
		for range all {
			switch subject := next(t, got); subject {
			case fmt.Sprint(one):
				one++
			case fmt.Sprint("big", two):
				two++
			default:
				require.FailNow(t, "out of order", "%s came after %d and %d", subject, one, two)
			}
		}
		// What fails in one part of a call keeps those of its key out of the next.
		all = events(maxEvents+10, "three")
		all[3].Version = 0
		errs := b.Publish(t.Context(), all)
		require.NoError(t, errs[2])
		for _, err := range errs[4:] {
			require.ErrorIs(t, err, bus.ErrSkipped)
		}
	})
}

func TestAnOrderThatChanges(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		s := subscription
		b := p.declared(s)
		require.Nil(t, b.Publish(t.Context(), events(3, "key")))
		s.Ordered = true
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		require.Nil(t, b.Publish(t.Context(), []bus.Event{event(3, "key")}))
		require.Equal(t, 1, rows(t, b, "bus_deliveries WHERE state = 0"))
		require.Equal(t, 3, rows(t, b, "bus_deliveries WHERE state = 1"))
		taken, let := hold(t, b, s, bus.Ack())
		require.Equal(t, "0", next(t, taken).Event.Subject)
		s.Ordered = false
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		got := receive(t, p.daemon(), s)
		for range 3 {
			next(t, got)
		}
		let()
		empty(t, b)
	})
}

// A letter outlives its subscription; what is no event becomes one.
func TestLettersOfWhatIsNoMore(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		b := p.declared(subscription)
		require.Nil(t, b.Publish(t.Context(), events(2)))
		require.NoError(t, b.db.Exec("UPDATE bus_events SET attributes = '{' WHERE seq = (SELECT MAX(seq) FROM bus_events)").Error)
		stop := consume(t, b, subscription, bus.Consumer{Handle: func(context.Context, bus.Delivery) bus.Verdict {
			return bus.Dead(bus.Failure{Reason: bus.ReasonDropped, Error: "no use"})
		}})
		require.Eventually(t, func() bool { return rows(t, b, "bus_deliveries WHERE state = 3") == 2 }, patience, 10*time.Millisecond)
		stop()
		require.NoError(t, b.Declare(t.Context(), "notify", nil))
		letters := make(chan bus.DeadLetter, 2)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- b.DeadLetters(ctx, func(_ context.Context, l bus.DeadLetter) error {
				letters <- l
				return nil
			})
		}()
		reasons := map[string]int{}
		for range 2 {
			l := next(t, letters)
			require.Equal(t, subscription.ID(), l.Subscription)
			require.Len(t, l.Event.Data, 256)
			reasons[l.Failure.Reason]++
		}
		require.Equal(t, map[string]int{bus.ReasonDropped: 1, bus.ReasonMalformed: 1}, reasons)
		empty(t, b)
		cancel()
		require.NoError(t, next(t, ended))
		require.NoError(t, b.Declare(t.Context(), "notify", nil))
	})
}

func TestFailuresHaveTheBusesNames(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]error{
		sqlite.ErrFull: bus.ErrRefused, postgres.ErrFull: bus.ErrRefused, sqlite.ErrReadOnly: bus.ErrRefused,
		sqlite.ErrBusy: bus.ErrUnavailable, postgres.ErrUnavailable: bus.ErrUnavailable, gorm.ErrInvalidDB: bus.ErrUnavailable,
		context.DeadlineExceeded: bus.ErrUnavailable, bus.ErrClosed: bus.ErrClosed,
	} {
		got := failure(fmt.Errorf("commit: %w", err))
		require.ErrorIs(t, got, want)
		require.ErrorContains(t, got, err.Error())
		require.NotErrorIs(t, got, context.DeadlineExceeded, "it is not the caller's")
	}
	require.Len(t, legible(string(make([]byte, 10000))), 3*maxError)
	require.Equal(t, "a\uFFFDb", legible("a\xffb"))
}
