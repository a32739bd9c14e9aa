package amqp

import (
	"context"
	"strconv"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

const (
	// letterWindow is how many letters come ahead of the one that is being kept: as many are set aside if they cannot be.
	letterWindow = 64
	firstKept    = 100 * time.Millisecond // how long one waits that could not be kept; twice as long each time
	lastKept     = 30 * time.Second
)

// DeadLetters implements bus.Bus. Letters are handed over one at a time.
func (b *Bus) DeadLetters(ctx context.Context, keep func(context.Context, bus.DeadLetter) error) error {
	called, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	d := newDispatcher(1, newMemory())
	d.lane = func(*amqp091.Delivery) string { return "" }
	d.handle = func(w *work) fate {
		if err := keep(called, b.read(called, &w.message)); err != nil {
			b.o.Log.Debug("a dead letter could not be kept, and comes again", "error", err)
			pause := min(firstKept<<min(w.attempt-attempt(&w.message), 20), lastKept)
			return fate{again: true, next: note{attempt: w.attempt + 1, due: time.Now().Add(pause)}}
		}
		return fate{}
	}
	return b.listen(called, listener{
		prefetch: letterWindow,
		open:     func(context.Context, *amqp091.Channel) (string, error) { return b.names.dead(), nil },
		begin:    d.begin,
		arrive:   d.arrive,
		lose:     d.lose,
		end:      func(*intake) { d.end() },
		absent:   func(ctx context.Context) error { return b.onBroker(ctx, b.establishBase) },
	})
}

// read is the letter of a message.
func (b *Bus) read(ctx context.Context, m *amqp091.Delivery) bus.DeadLetter {
	e, _ := decode(m) // as far as it can be
	letter := bus.DeadLetter{
		ID: plain(m.Headers[headerLetter]), Subscription: plain(m.Headers[headerSubscription]), Event: e, Attempts: attempt(m),
		Failure: bus.Failure{Reason: plain(m.Headers[headerReason]), Error: plain(m.Headers[headerError])},
	}
	if at, err := time.Parse(time.RFC3339Nano, plain(m.Headers[headerDied])); err == nil {
		letter.At = at.UTC()
	}
	if letter.ID == "" {
		b.readAbandoned(ctx, m, &letter)
	}
	return letter
}

// readAbandoned reads a letter that the broker wrote.
func (b *Bus) readAbandoned(ctx context.Context, m *amqp091.Delivery, letter *bus.DeadLetter) {
	queue, died, why := lastDeath(m.Headers)
	letter.Subscription, letter.At = b.whose(ctx, queue), died
	letter.Failure = bus.Failure{Reason: bus.ReasonAbandoned, Error: "whoever had it was killed or cut off more than " +
		strconv.Itoa(deliveryLimit) + " times; the broker says: " + why + " (fix: see why in the log, then retry it)"}
	letter.ID = letterID(letter.Subscription, m, died.Format(time.RFC3339))
}

// whose is the ID of the subscription that a queue is of.
func (b *Bus) whose(ctx context.Context, queue string) string {
	all, _ := b.subscriptions(ctx) // if they cannot be read, the name says it, unless it was too long
	for _, s := range all {
		if b.names.queue(s) == queue {
			return s.ID()
		}
	}
	return b.names.subscription(queue)
}

// lastDeath reads the header x-death, whose first entry is of the queue that a message left last.
func lastDeath(headers amqp091.Table) (queue string, at time.Time, why string) {
	deaths, _ := headers["x-death"].([]any)
	if len(deaths) == 0 {
		return "", time.Time{}, "for no reason that it tells"
	}
	death, _ := deaths[0].(amqp091.Table)
	at, _ = death["time"].(time.Time)
	return plain(death["queue"]), at.UTC(), strings.ReplaceAll(plain(death["reason"]), "_", " ")
}
