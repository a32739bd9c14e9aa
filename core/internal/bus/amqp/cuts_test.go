package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/rabbittest"
)

func event(eventType string) bus.Event {
	return bus.Event{
		ID: uuid.NewString(), Source: "/modules/blog", Type: eventType, Version: 1, Time: time.Now().UTC(),
		ContentType: "application/json", Data: []byte(`{"title":"A"}`),
	}
}

// through has a bus go by way of a proxy.
func through(p *rabbittest.Proxy) func(*amqp.Options) {
	return func(o *amqp.Options) {
		o.URL, o.Heartbeat = config.SecretURL(p.URL(o.URL.Reveal())), time.Second
	}
}

// consume consumes until the test ends.
func consume(t testing.TB, b bus.Bus, s bus.Subscription, c bus.Consumer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, s, c) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// empty waits until nothing is pending.
func empty(t testing.TB, b bus.Bus) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assertT) {
		pending, err := b.Pending(t.Context())
		require.NoError(c, err)
		for id, backlog := range pending {
			require.Zero(c, backlog, id)
		}
	}, 60*time.Second, 20*time.Millisecond)
}

// effects are what handlers did.
type effects struct {
	mu   sync.Mutex
	done map[string]bool
	next map[string]int
	bad  []string
}

func (e *effects) apply(d bus.Delivery, ordered bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done[d.Event.ID] {
		return
	}
	e.done[d.Event.ID] = true
	if want := fmt.Sprint(e.next[d.Event.Key]); ordered && want != d.Event.Subject {
		e.bad = append(e.bad, fmt.Sprintf("key %s: %s came where %s was due", d.Event.Key, d.Event.Subject, want))
	}
	e.next[d.Event.Key]++
}

func TestCuts(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		const cuts, rounds, keys = 20, 100, 10
		place := newPlace(t)
		network := rabbittest.NewProxy(t, place.url)
		b := place.open(through(network))
		unordered := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		ordered := bus.Subscription{Module: "search", Pattern: "blog.*", Ordered: true}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{unordered}))
		require.NoError(t, b.Declare(t.Context(), "search", []bus.Subscription{ordered}))
		results := map[string]*effects{}
		for _, s := range []bus.Subscription{unordered, ordered} {
			e := &effects{done: map[string]bool{}, next: map[string]int{}}
			results[s.ID()] = e
			consume(t, b, s, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
				if d.Attempt == 1 && d.Event.Subject == "50" {
					return bus.Retry(0, bus.Failure{Reason: bus.ReasonAttempts, Error: "not yet"})
				}
				e.apply(d, s.Ordered)
				return bus.Ack()
			}})
		}
		for round := range rounds {
			if round%3 == 1 {
				network.Slices(1 + round)
			}
			batch := make([]bus.Event, keys)
			for key := range batch {
				batch[key] = event("blog.made")
				batch[key].Key, batch[key].Subject = fmt.Sprint("key", key), fmt.Sprint(round)
			}
			var cutting sync.WaitGroup
			if round%(rounds/cuts) == 2 {
				cutting.Go(network.Cut)
			}
			require.Nil(t, b.Publish(t.Context(), batch), round)
			cutting.Wait()
		}
		network.Slices(64 << 10)
		empty(t, b)
		for id, e := range results {
			e.mu.Lock()
			require.Len(t, e.done, rounds*keys, id)
			require.Empty(t, e.bad, id)
			e.mu.Unlock()
		}
	})
}

// What is being handled when its connection is lost comes again. It is not begun again as long as it is handled, and what has
// come of it meanwhile holds.
func TestWhatComesAgainWhileItIsHandled(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		for name, ordered := range map[string]bool{"ordered": true, "unordered": false} {
			for verdict, v := range map[string]bus.Verdict{
				"acked": bus.Ack(), "retried": bus.Retry(0, bus.Failure{}), "dead": bus.Dead(bus.Failure{}),
			} {
				for when, away := range map[string]bool{"before": true, "after": false} {
					t.Run(fmt.Sprint(name, "/", verdict, " ", when), func(t *testing.T) {
						t.Parallel()
						comesAgain(t, bus.Subscription{Module: "notify", Pattern: "blog.*", Ordered: ordered}, v, away)
					})
				}
			}
		}
	})
}

// comesAgain has a handler end while its connection is away, or after its delivery came again.
func comesAgain(t *testing.T, s bus.Subscription, first bus.Verdict, away bool) {
	place := newPlace(t)
	network := rabbittest.NewProxy(t, place.url)
	b := place.open(through(network))
	require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
	began, others, let := make(chan int, 99), make(chan string, 99), make(chan struct{})
	held := event("blog.made")
	held.Key = "held"
	consume(t, b, s, bus.Consumer{Concurrency: 4, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		if d.Event.ID != held.ID {
			others <- d.Event.ID
			return bus.Ack()
		}
		began <- d.Attempt
		<-let
		if d.Attempt == 1 {
			return first
		}
		return bus.Ack()
	}})
	require.NoError(t, bustest.PublishOne(t.Context(), b, held))
	require.Equal(t, 1, <-began)
	if away {
		network.Stall()
		network.Cut()
		close(let)
		network.GoOn()
	} else {
		network.Cut()
	}
	other := event("blog.made")
	require.NoError(t, bustest.PublishOne(t.Context(), b, other))
	require.Equal(t, other.ID, <-others, "which comes after what comes again")
	if !away {
		close(let)
	}
	empty(t, b)
	close(began)
	var attempts []int
	for attempt := range began {
		attempts = append(attempts, attempt)
	}
	switch {
	case first.Fate() == bus.Acked || first.Fate() == bus.Died && !away:
		require.Empty(t, attempts)
	case first.Fate() == bus.Retried:
		require.NotEmpty(t, attempts)
		require.Equal(t, 2, attempts[len(attempts)-1])
		require.Subset(t, []int{1, 2}, attempts)
	}
}

func TestAStalledNetwork(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		network := rabbittest.NewProxy(t, place.url)
		b := place.open(through(network))
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.made")))

		network.Stall()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		batch := []bus.Event{event("blog.made"), event("blog.made"), event("blog.made")}
		batch[0].Key, batch[1].Key = "k", "k"
		errs := b.Publish(ctx, batch)
		require.Less(t, time.Since(began), 10*time.Second)
		require.Len(t, errs, 3)
		require.ErrorIs(t, errs[0], bus.ErrUnavailable)
		require.ErrorIs(t, errs[0], context.DeadlineExceeded)
		require.ErrorIs(t, errs[1], bus.ErrSkipped)
		require.ErrorIs(t, errs[2], bus.ErrUnavailable)
		require.ErrorIs(t, b.Declare(ctx, "notify", []bus.Subscription{s}), bus.ErrUnavailable)
		_, err := b.Pending(ctx)
		require.ErrorIs(t, err, bus.ErrUnavailable)
		require.ErrorIs(t, b.Redeliver(ctx, s.ID(), event("blog.made")), bus.ErrUnavailable)

		waiting := make(chan error, 1)
		go func() { waiting <- bustest.PublishOne(t.Context(), b, event("blog.made")) }()
		network.GoOn()
		require.NoError(t, <-waiting)
	})
}

// A connection of which nothing is heard any more is given up, and what was on its way goes over the next one.
func TestAConnectionThatIsDead(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		network := rabbittest.NewProxy(t, place.url)
		b := place.open(through(network))
		s := bus.Subscription{Module: "notify", Pattern: "blog.*", Ordered: true}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		got := make(chan string, 9)
		consume(t, b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			got <- d.Event.ID
			return bus.Ack()
		}})
		for range 3 {
			e := event("blog.made")
			network.Freeze()
			require.NoError(t, bustest.PublishOne(t.Context(), b, e))
			for <-got != e.ID { // what was published again may come again
			}
		}
	})
}

// More events than may be on their way at once, that nobody says anything of: when they are given up, there is room for others.
func TestWhatIsGivenUpMakesRoom(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		network := rabbittest.NewProxy(t, place.url)
		b := place.open(through(network), func(o *amqp.Options) { o.InFlight = 4 })
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{{Module: "notify", Pattern: "blog.*"}}))
		for range 3 {
			network.Stall()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			for _, err := range b.Publish(ctx, []bus.Event{
				event("blog.made"), event("blog.made"), event("blog.made"), event("blog.made"), event("blog.made"), event("blog.made"),
			}) {
				require.ErrorIs(t, err, bus.ErrUnavailable)
			}
			cancel()
			network.GoOn()
			require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.made")))
		}
	})
}

// A broker that says nothing from the beginning on is noticed too: the library has no bound before it has read something.
func TestSilenceIsBounded(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = errors.Join(near.Close(), far.Close()) })
	said := make(chan error, 1)
	go func() {
		_, err := amqp.NewSocket(near, 50*time.Millisecond).Read(make([]byte, 1))
		said <- err
	}()
	select {
	case err := <-said:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for ever")
	}
}
