package amqp

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

const (
	// askAgain is how long nobody is asked whether anybody tails, after nobody did.
	askAgain = time.Second
	// tailed is how many events wait for who tails slowly; the oldest are left out. Of them it is sent tailWindow at once.
	tailed     = 1000
	tailWindow = 100
)

// tails says whether copies of what is published are wanted. Who tails cannot listen where subscriptions do: the broker would
// take an event that it alone hears of for one that somebody wants. Nor do daemons know who tails on others. So an event that was
// taken is sent once more, to an exchange for tails; when it comes back because nobody listens there, no other is for a while.
type tails struct {
	here  atomic.Int64 // on this bus
	quiet atomic.Int64 // until when nobody tails, in nanoseconds since 1970
}

// openUnsure gives a session the channel on which nothing is confirmed.
func (b *Bus) openUnsure(s *session) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel for what may be lost: %w", err)
	}
	s.unsure = ch
	returns := ch.NotifyReturn(make(chan amqp091.Return, tailWindow))
	b.workers.Go(func() {
		for range returns {
			b.tails.quiet.Store(time.Now().Add(askAgain).UnixNano())
		}
		s.kill()
	})
	return nil
}

// copy sends what was taken to whoever tails. It may come to nothing.
func (b *Bus) copy(taken *parcel) {
	if b.tails.here.Load() == 0 && time.Now().UnixNano() < b.tails.quiet.Load() {
		return
	}
	message := taken.message
	message.DeliveryMode, message.CorrelationId = amqp091.Transient, ""
	if err := b.say(b.names.tail(), "", message); err != nil {
		b.o.Log.Debug("an event was not shown to those who tail", "error", err)
	}
}

// say publishes what may be lost.
func (b *Bus) say(exchange, key string, m amqp091.Publishing) error {
	s := b.publishing.current()
	if s == nil {
		return errLost
	}
	if s.blocked.opens() != nil {
		return errShort
	}
	return s.unsure.Publish(exchange, key, exchange == b.names.tail(), false, m)
}

// Tail implements bus.Bus.
func (b *Bus) Tail(ctx context.Context, pattern string, see func(bus.Event)) error {
	if pattern != "" {
		if err := bus.CheckPattern(pattern); err != nil {
			return err
		}
	}
	called, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return b.listen(called, listener{
		prefetch: tailWindow,
		open: func(_ context.Context, ch *amqp091.Channel) (string, error) {
			queue, err := ch.QueueDeclare("", false, true, true, false, amqp091.Table{
				amqp091.QueueMaxLenArg: int64(tailed), amqp091.QueueOverflowArg: amqp091.QueueOverflowDropHead,
			})
			if err != nil {
				return "", err
			}
			return queue.Name, ch.QueueBind(queue.Name, "", b.names.tail(), false, nil)
		},
		begin: func(*intake) { b.tails.here.Add(1) },
		arrive: func(_ context.Context, in *intake, m *amqp091.Delivery) {
			in.ack(m.DeliveryTag, func() {})
			e, err := decode(m)
			if err == nil && (pattern == "" || bus.Matches(pattern, e.Type)) {
				see(e)
			}
		},
		lose: func(*intake) { b.tails.here.Add(-1) },
	})
}
