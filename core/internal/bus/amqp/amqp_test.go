package amqp_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/bustest"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/rabbittest"
)

type assertT = assert.CollectT

func TestWhatCannotBeOpened(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"", "amqp://", "http://u:hunter2@h", "amqp://u:hunter2@h:x", "amqp://u:hunter2%@h", "hunter2", "amqp://u:hunt er2@h",
		"amqp://u:hunter2@h/?heartbeat=0", "amqp://u:hunter2@h/?channel_max=x",
	} {
		_, err := amqp.Open(t.Context(), amqp.Options{URL: config.SecretURL(url)})
		require.ErrorContains(t, err, "(fix: ", url)
		require.ErrorContains(t, err, "events.url")
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, exchange := range []string{"amq.x", "a b", "ü", strings.Repeat("x", 65), ".a"} {
		_, err := amqp.Open(t.Context(), amqp.Options{URL: "amqp://h", Exchange: exchange})
		require.ErrorContains(t, err, "(fix: ", exchange)
	}
}

// Nobody answers: nothing hangs, and whoever asks learns it.
func TestABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	b, err := amqp.Open(t.Context(), amqp.Options{URL: "amqp://u:hunter2@127.0.0.1:1"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = b.Declare(ctx, "notify", []bus.Subscription{{Module: "notify", Pattern: "blog.*"}})
	require.ErrorIs(t, err, bus.ErrUnavailable)
	require.NotContains(t, err.Error(), "hunter2")
	require.ErrorIs(t, bustest.PublishOne(ctx, b, event("blog.made")), bus.ErrUnavailable)
	require.NoError(t, b.Consume(ctx, bus.Subscription{Module: "notify", Pattern: "blog.*"}, bus.Consumer{}))
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(t.Context(), bus.Subscription{Module: "notify", Pattern: "blog.*"}, bus.Consumer{})
	}()
	require.NoError(t, b.Close())
	require.ErrorIs(t, <-done, bus.ErrClosed)
}

// refuses publishes until the bus says that it refuses.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{{Module: "notify", Pattern: "blog.*"}}))
		ch := place.raw()
		full, err := ch.QueueDeclare("", false, true, true, false, amqp091.Table{
			amqp091.QueueMaxLenArg: 1, amqp091.QueueOverflowArg: amqp091.QueueOverflowRejectPublish,
		})
		require.NoError(t, err)
		require.NoError(t, ch.QueueBind(full.Name, "blog.full", place.prefix+".events", false, nil))
		require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.full")))
		batch := []bus.Event{event("blog.full"), event("blog.made"), event("blog.made"), event("blog.made")}
		batch[0].Key, batch[1].Key, batch[2].Key = "a", "a", "b"
		errs := b.Publish(t.Context(), batch)
		require.Len(t, errs, 4)
		require.ErrorIs(t, errs[0], bus.ErrRefused)
		require.ErrorIs(t, errs[1], bus.ErrSkipped)
		require.NoError(t, errs[2])
		require.NoError(t, errs[3])
		const n = 1000
		many := make([]bus.Event, n)
		for i := range many {
			many[i] = event("blog.full")
		}
		for i, err := range b.Publish(t.Context(), many) {
			require.ErrorIs(t, err, bus.ErrRefused, i)
		}
		for i := range many {
			many[i] = event("shop.sold")
		}
		errs = b.Publish(t.Context(), many)
		require.Len(t, errs, n)
		for i, err := range errs {
			require.ErrorIs(t, err, bus.ErrUnroutable, i)
		}
	})
}

// Who tails does not count among those who want an event.
func TestNobodyButATail(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{{Module: "notify", Pattern: "blog.*"}}))
		var seen atomic.Int64
		done := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { done <- b.Tail(ctx, "", func(bus.Event) { seen.Add(1) }) }()
		require.Eventually(t, func() bool {
			require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.made")))
			return seen.Load() > 0
		}, 30*time.Second, 10*time.Millisecond)
		require.ErrorIs(t, bustest.PublishOne(t.Context(), b, event("shop.sold")), bus.ErrUnroutable)
		cancel()
		require.NoError(t, <-done)
	})
}

// A queue that is there and is another: it is explained, and stays.
func TestAQueueWithOtherArguments(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.made")))
		other := s
		other.Ordered = true
		for _, what := range []struct{ err error }{
			{b.Declare(t.Context(), "notify", []bus.Subscription{other})},
			{place.open().Declare(t.Context(), "notify", []bus.Subscription{other})},
		} {
			require.ErrorContains(t, what.err, place.prefix+".sub.notify.blog.#")
			require.ErrorContains(t, what.err, "x-single-active-consumer")
			require.ErrorContains(t, what.err, "rabbitmqctl delete_queue")
		}
		queue, err := place.raw().QueueDeclarePassive(place.prefix+".sub.notify.blog.#", true, false, false, false, nil)
		require.NoError(t, err)
		require.Equal(t, 1, queue.Messages)
		require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.made")), "others do not suffer")
	})
}

// What somebody deletes by hand is made again, whoever needs it first.
func TestWhatIsDeletedByHand(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		for name, ordered := range map[string]bool{"unordered": false, "ordered": true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				place := newPlace(t)
				b := place.open()
				s := bus.Subscription{Module: "notify", Pattern: "blog.*", Ordered: ordered}
				require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
				var got sync.Map
				consume(t, b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
					if d.Attempt == 1 {
						return bus.Retry(time.Millisecond, bus.Failure{})
					}
					got.Store(d.Event.ID, true)
					return bus.Ack()
				}})
				arrives := func() {
					t.Helper()
					e := event("blog.made")
					published := func() bool { return bustest.PublishOne(t.Context(), b, e) == nil }
					require.Eventually(t, published, 30*time.Second, 10*time.Millisecond)
					require.Eventually(t, func() bool { _, ok := got.Load(e.ID); return ok }, 30*time.Second, 10*time.Millisecond)
				}
				arrives()
				for _, queue := range amqp.Queues(place.prefix, []bus.Subscription{s}) {
					_, err := place.raw().QueueDelete(queue, false, false, false)
					require.NoError(t, err)
					arrives()
				}
				for _, exchange := range amqp.Exchanges(place.prefix) {
					require.NoError(t, place.raw().ExchangeDelete(exchange, false, false))
					arrives()
				}
			})
		}
	})
}

// A subscription that another daemon gave up is not made again by one that still consumes it.
func TestWhatAnotherDaemonRemoved(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		network := rabbittest.NewProxy(t, place.url)
		old, young := place.open(through(network)), place.open()
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		require.NoError(t, old.Declare(t.Context(), "notify", []bus.Subscription{s}))
		done := make(chan error, 1)
		go func() { done <- old.Consume(t.Context(), s, bus.Consumer{}) }()
		require.NoError(t, young.Declare(t.Context(), "notify", nil))
		require.ErrorContains(t, <-done, "is not declared")
		network.Cut()
		require.Eventually(t, func() bool {
			pending, err := old.Pending(t.Context())
			return err == nil && len(pending) == 0
		}, 30*time.Second, 10*time.Millisecond)
		require.ErrorIs(t, bustest.PublishOne(t.Context(), old, event("blog.made")), bus.ErrUnroutable)
		require.ErrorIs(t, old.Redeliver(t.Context(), s.ID(), event("blog.made")), bus.ErrUnroutable)
		require.ErrorContains(t, old.Consume(t.Context(), s, bus.Consumer{}), "(fix: ")
	})
}

// A ledger that cannot be written changes nothing on the broker, and what it still names goes with the next Declare.
func TestALedgerThatFails(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		place.ledger.fail(fmt.Errorf("the disk is full"))
		require.ErrorContains(t, b.Declare(t.Context(), "notify", nil), "the disk is full")
		require.NoError(t, bustest.PublishOne(t.Context(), b, event("blog.made")))
		place.ledger.fail(nil)
		require.NoError(t, place.ledger.Put(t.Context(), []amqp.Entry{{Subscription: s, Going: true}})) // killed right after this
		require.NoError(t, place.open().Declare(t.Context(), "notify", nil))
		require.ErrorIs(t, bustest.PublishOne(t.Context(), b, event("blog.made")), bus.ErrUnroutable)
		entries, err := place.ledger.All(t.Context())
		require.NoError(t, err)
		require.Empty(t, entries)
	})
}

// What comes to a queue and is no event is kept, as it is, for somebody to look at.
func TestWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		s := bus.Subscription{Module: "notify", Pattern: "blog.*", Ordered: true}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		handled := make(chan bus.Event, 9)
		consume(t, b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			handled <- d.Event
			return bus.Ack()
		}})
		letters := make(chan bus.DeadLetter, 9)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			done <- b.DeadLetters(ctx, func(_ context.Context, l bus.DeadLetter) error { letters <- l; return nil })
		}()
		ch := place.raw()
		put := func(m amqp091.Publishing) {
			t.Helper()
			require.NoError(t, ch.PublishWithContext(t.Context(), place.prefix+".events", "blog.made", true, false, m))
		}
		const prefix = "cloudEvents:" // what others may write
		valid := amqp091.Table{
			prefix + "specversion": "1.0", prefix + "id": "1", prefix + "source": "/elsewhere", prefix + "type": "blog.made",
			prefix + "time": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		}
		for name, m := range map[string]amqp091.Publishing{
			"none":    {Body: []byte("\x00garbage\xff")},
			"again":   {Body: []byte("\x00garbage\xff")},
			"large":   {Body: make([]byte, bus.MaxData+1), Headers: valid},
			"version": {Headers: amqp091.Table{"cloudEvents_specversion": "1.0", "cloudEvents_typeversion": "x"}, Body: []byte("b")},
			"nested":  {Headers: amqp091.Table{"cloudEvents_specversion": amqp091.Table{"a": []any{int8(1), nil}}}, Body: []byte("c")},
		} {
			put(m)
			letter := <-letters
			require.Equal(t, bus.ReasonMalformed, letter.Failure.Reason, name)
			require.Equal(t, s.ID(), letter.Subscription)
			require.Equal(t, m.Body, letter.Event.Data, name)
			require.NotEmpty(t, letter.Failure.Error)
			require.NotEmpty(t, letter.ID)
		}
		put(amqp091.Publishing{Headers: valid, ContentType: "text/plain", Body: []byte("hello")})
		require.Equal(t, bus.Event{
			ID: "1", Source: "/elsewhere", Type: "blog.made", Version: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			ContentType: "text/plain", Data: []byte("hello"),
		}, <-handled)
		cancel()
		require.NoError(t, <-done)
		require.Empty(t, letters)
		require.Empty(t, handled)
	})
}

// What waits longer than the longest queue makes it wait comes to nobody in between.
func TestALongWait(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		calls := make(chan bus.Delivery, 9)
		consume(t, b, s, bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			calls <- d
			return bus.Retry(3*time.Hour, bus.Failure{})
		}})
		e := event("blog.made")
		require.NoError(t, bustest.PublishOne(t.Context(), b, e))
		<-calls
		ch := place.raw()
		waiting := place.prefix + ".retry.notify.blog.#.10m"
		var m amqp091.Delivery
		require.Eventually(t, func() (ok bool) {
			var err error
			m, ok, err = ch.Get(waiting, true)
			require.NoError(t, err)
			return ok
		}, 30*time.Second, 10*time.Millisecond)
		// As if ten minutes were over.
		require.NoError(t, ch.PublishWithContext(t.Context(), "", place.prefix+".sub.notify.blog.#", true, false, amqp091.Publishing{
			Headers: m.Headers, ContentType: m.ContentType, MessageId: m.MessageId, Body: m.Body,
		}))
		require.Eventually(t, func() bool {
			pending, err := b.Pending(t.Context())
			require.NoError(t, err)
			return pending[s.ID()] == bus.Backlog{Waiting: 1}
		}, 30*time.Second, 10*time.Millisecond)
		require.Empty(t, calls)
	})
}

// What has waited over twice as long as there are notes to keep leaves none behind.
func TestNotesAreRemoved(t *testing.T) {
	t.Parallel()
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		place := newPlace(t)
		b := place.open()
		s := bus.Subscription{Module: "notify", Pattern: "blog.*", Ordered: true}
		require.NoError(t, b.Declare(t.Context(), "notify", []bus.Subscription{s}))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var left atomic.Int64
		left.Store(100)
		all := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- b.Consume(ctx, s, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
				if d.Attempt < 3 {
					return bus.Retry(0, bus.Failure{})
				}
				if left.Add(-1) == 0 {
					close(all)
				}
				return bus.Ack()
			}})
		}()
		events := make([]bus.Event, 100)
		for i := range events {
			events[i] = event("blog.made")
		}
		require.Nil(t, b.Publish(t.Context(), events))
		<-all
		cancel()
		require.NoError(t, <-done)
		require.Eventually(t, func() bool {
			queue, err := place.raw().QueueDeclarePassive(place.prefix+".held.notify.blog.#", true, false, false, false, nil)
			require.NoError(t, err)
			return queue.Messages == 0
		}, 30*time.Second, 50*time.Millisecond)
	})
}
