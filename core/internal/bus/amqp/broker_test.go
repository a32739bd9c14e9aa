package amqp_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/rabbittest"
)

// lines is a log.
type lines struct {
	mu  sync.Mutex
	out strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.out.String(), text)
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// newNode is a broker for this test alone, where tests of brokers are wanted.
func newNode(t testing.TB) *rabbittest.Node {
	t.Helper()
	server(t)
	return rabbittest.New(t)
}

// A broker that is started late, killed, short of memory, and replaced by an empty one.
func TestABrokerOfItsOwn(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		broker := newNode(t)
		var out lines
		place := &place{TB: t, url: broker.URL(), prefix: "platformd", ledger: newLedger()}
		b := place.open(func(o *amqp.Options) {
			o.Heartbeat, o.Log = time.Second, hclog.New(&hclog.LoggerOptions{Output: &out})
		})
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		declared := func() bool { return b.Declare(t.Context(), "notify", []bus.Subscription{s}) == nil }
		broker.Start()
		require.Eventually(t, declared, 90*time.Second, 100*time.Millisecond)
		// A queue that was just made outlives its broker, with what is in it.
		first := event("blog.made")
		require.NoError(t, bustest.PublishOne(t.Context(), b, first))
		broker.Kill()
		broker.Start()
		require.Eventually(t, declared, 90*time.Second, 100*time.Millisecond)
		foundOutlives(t, place, broker)
		require.Eventually(t, declared, 90*time.Second, 100*time.Millisecond)
		requireOutages(t, &out)

		events := make([]bus.Event, 200)
		for i := range events {
			events[i] = event("blog.made")
		}
		require.Nil(t, b.Publish(t.Context(), events[:100]))
		require.NoError(t, blocked(t, broker, b))
		taken := publishThrough(t, b, func() {
			makeOrphan(t, place, "blog.lost")
			broker.Kill()
			broker.Start()
			require.Eventually(t, declared, 90*time.Second, 100*time.Millisecond)
		})
		requireOutages(t, &out)
		confirmsNothing(t, place, b, &out)
		require.Nil(t, b.Publish(t.Context(), events[100:]))
		events = append(append(events, first), taken...)
		var got sync.Map
		consume(t, b, s, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			got.Store(d.Event.ID, true)
			return bus.Ack()
		}})
		empty(t, b)
		for _, e := range events {
			_, ok := got.Load(e.ID)
			require.True(t, ok, "what was acknowledged came")
		}

		broker.Kill()
		require.NoError(t, os.RemoveAll(filepath.Join(broker.Dir, "db"))) // it has lost all
		broker.Start()
		e := event("blog.made")
		require.Eventually(t, func() bool { return bustest.PublishOne(t.Context(), b, e) == nil }, 90*time.Second, 100*time.Millisecond)
		require.Eventually(t, func() bool { _, ok := got.Load(e.ID); return ok }, 30*time.Second, 10*time.Millisecond)
	})
}

// requireOutages waits until they have ended, and looks that each was told once. How many there were is not ours to say: a
// machine that is busy lets heartbeats of a second be late, and the broker be killed again before each connection has come back.
func requireOutages(t *testing.T, out *lines) {
	t.Helper()
	const begun, ended = "does not answer", "answers again"
	require.Eventually(t, func() bool {
		n := out.count(ended)
		return n > 0 && n == out.count(begun)
	}, 30*time.Second, 10*time.Millisecond)
	var told []string
	for line := range strings.Lines(out.all()) {
		for _, what := range []string{begun, ended} {
			if strings.Contains(line, what) {
				told = append(told, what)
			}
		}
	}
	require.Less(t, len(told), 20, "it is told, and not again and again")
	for i, what := range told {
		require.Equal(t, []string{begun, ended}[i%2], what, "%q", told)
	}
}

// foundOutlives kills the broker when a daemon has found a queue that another had just made, which was killed before it was done.
func foundOutlives(t *testing.T, p *place, broker *rabbittest.Node) {
	t.Helper()
	found := bus.Subscription{Module: "shop", Pattern: "shop.*"}
	maker := p.open()
	require.NoError(t, maker.MakeQueues(t.Context(), found))
	maker.Kill()
	finder := p.open()
	declare := func() error { return finder.Declare(t.Context(), "shop", []bus.Subscription{found}) }
	require.NoError(t, declare())
	first := event("shop.made")
	require.NoError(t, bustest.PublishOne(t.Context(), finder, first))
	broker.Kill()
	broker.Start()
	require.Eventually(t, func() bool { return declare() == nil }, 90*time.Second, 100*time.Millisecond)
	got := make(chan string, 1)
	consume(t, finder, found, bus.Consumer{Concurrency: 1, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		got <- d.Event.ID
		return bus.Ack()
	}})
	select {
	case id := <-got:
		require.Equal(t, first.ID, id)
	case <-time.After(time.Minute):
		require.FailNow(t, "the event is lost")
	}
}

// orphan is a queue that the broker forgets when it is killed at once: RabbitMQ has not yet written down the one made last. It
// comes back, has no leader, and confirms nothing.
const orphan = "orphan"

// makeOrphan makes one that gets events of a type.
func makeOrphan(t *testing.T, p *place, eventType string) {
	t.Helper()
	ch := p.raw()
	_, err := ch.QueueDeclare(orphan, true, false, false, false, amqp091.Table{amqp091.QueueTypeArg: amqp091.QueueTypeQuorum})
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(orphan, eventType, amqp.Exchanges(p.prefix)[0], false, nil))
}

// confirmsNothing publishes what the orphan gets too, until that is deleted.
func confirmsNothing(t *testing.T, p *place, b bus.Bus, out *lines) {
	t.Helper()
	lost := event("blog.lost")
	for range 2 {
		require.ErrorIs(t, publishWithin(t, b, lost, 5*time.Second), bus.ErrUnavailable)
	}
	require.Equal(t, 1, out.count("does not confirm"), "it is told, and not again and again")
	require.Equal(t, 1, out.count("key=blog.lost"))
	_, err := p.raw().QueueDelete(orphan, false, false, false)
	require.NoError(t, err)
	require.NoError(t, publishWithin(t, b, lost, 30*time.Second))
}

func publishWithin(t *testing.T, b bus.Bus, e bus.Event, wait time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	return bustest.PublishOne(ctx, b, e)
}

// publishThrough publishes while something happens, and returns what was taken.
func publishThrough(t *testing.T, b bus.Bus, happens func()) (taken []bus.Event) {
	t.Helper()
	over := make(chan struct{})
	var publishing sync.WaitGroup
	begun := make(chan struct{})
	publishing.Go(func() {
		for n := 0; ; n++ {
			batch := make([]bus.Event, 20)
			for i := range batch {
				batch[i] = event("blog.made")
			}
			errs := b.Publish(t.Context(), batch)
			for i := range batch {
				if errs == nil || errs[i] == nil {
					taken = append(taken, batch[i])
				} else if !errors.Is(errs[i], bus.ErrUnavailable) {
					t.Error(errs[i])
				}
			}
			if n == 5 {
				close(begun)
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	<-begun
	happens()
	close(over)
	publishing.Wait()
	return taken
}

// blocked has a broker take nothing for a while.
func blocked(t *testing.T, broker *rabbittest.Node, b bus.Bus) error {
	t.Helper()
	broker.Ctl("set_vm_memory_high_watermark", "0.00001")
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := bustest.PublishOne(ctx, b, event("blog.made"))
		require.Less(t, time.Since(began), 10*time.Second)
		if err != nil {
			require.ErrorIs(t, err, bus.ErrUnavailable)
		}
		return err != nil && strings.Contains(err.Error(), "short of memory")
	}, 60*time.Second, 10*time.Millisecond)
	_, err := b.Pending(t.Context())
	require.NoError(t, err, "what publishes nothing is not held up")
	waiting := make(chan error, 1)
	go func() { waiting <- bustest.PublishOne(t.Context(), b, event("blog.made")) }()
	broker.Ctl("set_vm_memory_high_watermark", "0.4")
	return <-waiting
}
