package embedded

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// busy has b take deliveries ahead: a consumer handles quick ones in no time, then holds one until let is called. What it holds
// is sent to taken.
func busy(t *testing.T, b *Bus, quick int) (stop, let func(), taken <-chan bus.Delivery) {
	t.Helper()
	held := make(chan bus.Delivery, 1000)
	open, let := context.WithCancel(t.Context())
	count := 0
	stop = consume(t, b, subscription, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		if count++; count > quick {
			held <- d
			<-open.Done()
		}
		return bus.Ack()
	}})
	return stop, let, held
}

// What a consumer has taken ahead is somebody else's as soon as it stops, as the attempt that it would have been.
func TestWhatIsTakenAheadIsGivenBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		const quick, all = 10, 60
		p.o.stuck = time.Hour
		a := p.declared(subscription)
		require.Nil(t, a.Publish(t.Context(), events(all)))
		stop, let, taken := busy(t, a, quick)
		next(t, taken)
		require.Eventually(t, func() bool { return rows(t, a, "bus_deliveries WHERE state = 2") > 1 }, patience, 10*time.Millisecond)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			stop()
		}()
		b := p.daemon()
		again := make(chan bus.Delivery, all)
		consume(t, b, subscription, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			again <- d
			return bus.Ack()
		}})
		for range all - quick - 1 {
			require.Equal(t, 1, next(t, again).Attempt)
		}
		require.Eventually(t, func() bool { return rows(t, b, "bus_deliveries") == 1 }, patience, 10*time.Millisecond)
		let()
		next(t, stopped)
		empty(t, b)
		require.Empty(t, again)
	})
}

// What a daemon that is killed had taken ahead comes again, each as the attempt that it was.
func TestWhatWasTakenAheadByOneThatIsKilled(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		const quick, all = 10, 60
		p.o.stuck = time.Hour
		a := p.declared(subscription)
		require.Nil(t, a.Publish(t.Context(), events(all)))
		_, let, taken := busy(t, a, quick)
		first := next(t, taken).Event.Subject
		require.Eventually(t, func() bool { return rows(t, a, "bus_deliveries WHERE state = 2") > 1 }, patience, 10*time.Millisecond)
		a.die()
		let()
		b := p.daemon()
		again := make(chan bus.Delivery, 2*all)
		consume(t, b, subscription, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			again <- d
			return bus.Ack()
		}})
		expire(t, a)
		empty(t, b)
		seen := map[string]bool{}
		for len(again) > 0 {
			d := next(t, again)
			require.Equal(t, 1, d.Attempt)
			seen[d.Event.Subject] = true
		}
		require.True(t, seen[first])
		for n := quick; n < all; n++ {
			require.True(t, seen[fmt.Sprint(n)], "event %d", n)
		}
		require.NoError(t, a.Close())
	})
}

// watched has the database of all daemons at a place tell of each transaction of theirs how durable it is: SQLite's setting of
// synchronous, or PostgreSQL's of synchronous_commit.
func watched(t *testing.T, p *place) (each chan string) {
	t.Helper()
	each = make(chan string, 10000)
	db := p.db()
	p.db = func() *gorm.DB { return db }
	setting := "PRAGMA synchronous"
	if db.Name() == backend.PostgreSQL {
		setting = "SHOW synchronous_commit"
	}
	require.NoError(t, db.Callback().Row().Before("gorm:row").Register("watched", func(tx *gorm.DB) {
		if !strings.HasPrefix(tx.Statement.SQL.String(), routesQuery) {
			return
		}
		var value string
		if tx.AddError(tx.Statement.ConnPool.QueryRowContext(tx.Statement.Context, setting).Scan(&value)) == nil {
			each <- value
		}
	}))
	return each
}

// A transaction takes many deliveries, and settles many.
func TestTransactionsServeManyDeliveries(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		const all = 200
		each := watched(t, p)
		b := p.declared(subscription)
		require.Nil(t, b.Publish(t.Context(), events(all)))
		for len(each) > 0 {
			<-each
		}
		consume(t, b, subscription, bus.Consumer{Handle: func(context.Context, bus.Delivery) bus.Verdict {
			<-time.After(time.Millisecond) // it works
			return bus.Ack()
		}})
		empty(t, b)
		require.Less(t, len(each), all/4)
	})
}

// A power cut may undo that a delivery was taken or settled, which then comes again. It must not undo a publication.
func TestOnlyPublicationsWaitForTheDisk(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, p *place) {
		each := watched(t, p)
		b := p.declared(subscription)
		synced, unsynced := "2", "1"
		if b.server {
			synced, unsynced = "on", "off"
		}
		drain := func() (all []string) {
			for len(each) > 0 {
				all = append(all, <-each)
			}
			return all
		}
		drain()
		require.Nil(t, b.Publish(t.Context(), events(1)))
		require.Contains(t, drain(), synced)
		receive(t, b, subscription)
		empty(t, b)
		all := drain()
		require.Contains(t, all, unsynced)
		require.NotContains(t, all, synced)
	})
}
