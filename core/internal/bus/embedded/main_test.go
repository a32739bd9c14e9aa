package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

var cluster pgtest.Cluster

func TestMain(m *testing.M) {
	if os.Getenv(victimEnv) != "" {
		victim()
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(cluster.Exit))
}

// patience bounds every wait for what must come.
const patience = time.Minute

// place is an empty database. Each bus that is opened there is one more daemon's.
type place struct {
	t  testing.TB
	db func() *gorm.DB // a daemon's
	o  Options
}

// onEach runs a test on each backend.
func onEach(t *testing.T, test func(t *testing.T, p *place)) {
	t.Helper()
	for name, place := range places() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, place(t))
		})
	}
}

func places() map[string]func(t testing.TB) *place {
	return map[string]func(t testing.TB) *place{
		"sqlite": func(t testing.TB) *place {
			db := core(t, storage.Options{DataDir: filepath.Join(t.TempDir(), "data")})
			return &place{t: t, db: func() *gorm.DB { return db }, o: Options{hub: &hub{}}}
		},
		"postgresql": func(t testing.TB) *place {
			url := cluster.Database(t, pgtest.CreateRole)
			return &place{t: t, db: func() *gorm.DB {
				return core(t, storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3})
			}}
		},
	}
}

// core opens the core's database for the length of the test.
func core(t testing.TB, o storage.Options) *gorm.DB {
	t.Helper()
	store, err := storage.Open(context.WithoutCancel(t.Context()), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store.Core()
}

// open is one more daemon's bus, which the test closes.
func (p *place) open() *Bus {
	b, err := New(context.WithoutCancel(p.t.Context()), p.db(), p.o)
	require.NoError(p.t, err)
	return b
}

// daemon is a bus for the length of the test.
func (p *place) daemon() *Bus {
	b := p.open()
	p.t.Cleanup(func() { require.NoError(p.t, b.Close()) })
	return b
}

// die ends a bus as kill -9 does. The lease stays.
func (b *Bus) die() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.kill()
	b.running.Wait()
}

var subscription = bus.Subscription{Module: "notify", Pattern: "blog.*"}

// declared is a daemon with subscriptions of the module notify.
func (p *place) declared(all ...bus.Subscription) *Bus {
	p.t.Helper()
	b := p.daemon()
	require.NoError(p.t, b.Declare(p.t.Context(), "notify", all))
	return b
}

// event is one of 256 bytes.
func event(n int, key string) bus.Event {
	return bus.Event{
		ID: uuid.NewString(), Source: "/modules/blog", Type: "blog.made", Version: 1, Subject: fmt.Sprint(n), Key: key,
		Time: time.Now().UTC(), Data: make([]byte, 256),
	}
}

func events(n int, key ...string) []bus.Event {
	all := make([]bus.Event, n)
	for i := range all {
		all[i] = event(i, "")
		if len(key) > 0 {
			all[i].Key = key[0]
		}
	}
	return all
}

// consume runs until it is stopped, or the test ends.
func consume(t testing.TB, b *Bus, s bus.Subscription, c bus.Consumer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Consume(ctx, s, c) // a bus that is closed says so
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// receive hands over the number of each event.
func receive(t testing.TB, b *Bus, s bus.Subscription) (numbers chan string) {
	t.Helper()
	numbers = make(chan string, 10000)
	consume(t, b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		numbers <- d.Event.Subject
		return bus.Ack()
	}})
	return numbers
}

// next is what comes next.
func next[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case what := <-from:
		return what
	case <-timeout.C:
		require.FailNow(t, "nothing came")
	}
	panic("not reached")
}

// hold takes one delivery and keeps it until it is let go.
func hold(t testing.TB, b *Bus, s bus.Subscription, v bus.Verdict) (taken <-chan bus.Delivery, let func()) {
	t.Helper()
	in := make(chan bus.Delivery, 10)
	open, let := context.WithCancel(t.Context())
	consume(t, b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		in <- d
		<-open.Done()
		return v
	}})
	return in, let
}

// rows counts what is stored.
func rows(t testing.TB, b *Bus, table string) (n int) {
	t.Helper()
	require.NoError(t, b.db.Raw("SELECT COUNT(*) FROM "+table).Scan(&n).Error)
	return n
}

// empty waits until nothing is stored.
func empty(t testing.TB, b *Bus) {
	t.Helper()
	require.Eventually(t, func() bool { return rows(t, b, "bus_events")+rows(t, b, "bus_deliveries") == 0 },
		patience, 10*time.Millisecond)
}

func TestBus(t *testing.T) {
	t.Parallel()
	for name, place := range places() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bustest.Run(t, bustest.Suite{
				Open: func(t testing.TB) func() bus.Bus {
					p := place(t)
					return func() bus.Bus { return p.open() }
				},
				Kill: func(killed bus.Bus) {
					b, ok := killed.(*Bus)
					require.True(t, ok)
					b.die()
					expire(t, b)
				},
			})
		})
	}
}

// expire lets the lease of a bus that died end now, and has the others see it.
func expire(t testing.TB, b *Bus) {
	t.Helper()
	b.mu.Lock()
	holder := b.holder
	b.mu.Unlock()
	require.NoError(t, b.db.Exec("UPDATE bus_holders SET expires_at = 0 WHERE id = ?", holder).Error)
	if b.o.hub == nil {
		return // the others look every few seconds
	}
	b.o.hub.mu.Lock()
	defer b.o.hub.mu.Unlock()
	for other := range b.o.hub.buses {
		other.mu.Lock()
		other.due.sweep = time.Now()
		other.mu.Unlock()
		other.wake()
	}
}
