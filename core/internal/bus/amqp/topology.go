package amqp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/platformd/platformd/core/internal/bus"
)

const (
	// deliveryLimit is how often whoever had a delivery may be killed or cut off, before the broker makes a dead letter of it.
	deliveryLimit = 20
	// noLimit is for dead letters, which must not die again. Brokers of before 4.0 refuse -1, the later ones' word for it.
	noLimit = 1 << 30
	// consumerTimeout is how long a consumer may keep a delivery: those that wait in place for their next attempt keep it long.
	// Brokers of before 3.12 ignore it and take a delivery away after half an hour, which then comes again.
	consumerTimeout = 24 * 60 * 60 * 1000 // ms

	declareAtOnce = 4
	lockPause     = 40 * time.Millisecond // give or take half of it
)

// onBroker does something on the consuming connection, again if it is lost meanwhile. A broker that is short of something reads
// nothing at all from a connection that publishes.
func (b *Bus) onBroker(ctx context.Context, do func(*session) error) error {
	var last error
	for {
		s, why := b.consuming.session(ctx)
		if s == nil {
			return b.ended(ctx, errors.Join(why, last))
		}
		_, err := within(ctx, b, func() (struct{}, error) { return struct{}{}, do(s) }, nil)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return b.ended(ctx, last)
		case !s.isLost() && !errors.Is(err, amqp091.ErrClosed):
			return err
		}
		last = err
		select {
		case <-s.lost:
		case <-ctx.Done():
		}
	}
}

// prepareConsuming makes on a new connection what must be there to be bound to.
func (b *Bus) prepareConsuming(_ context.Context, s *session) error { return b.establishBase(s) }

// preparePublishing makes again on a new connection what was declared: the broker may have lost it.
func (b *Bus) preparePublishing(ctx context.Context, s *session) error {
	if err := b.establishBase(s); err != nil {
		return err
	}
	err := b.alone(s, func() error {
		all, err := b.subscriptions(ctx)
		if err != nil {
			return err
		}
		return b.establish(s, all)
	})
	switch {
	case err != nil && s.isLost():
		return err
	case err != nil: // who publishes need not suffer from it, and who consumes makes it again
		b.o.Log.Error("cannot see to it that every subscription has its queues", "error", err)
	}
	if err := b.openPublisher(s); err != nil {
		return err
	}
	return b.openUnsure(s)
}

// establishBase makes what all subscriptions share.
func (b *Bus) establishBase(s *session) error {
	err := onChannel(s, func(ch *amqp091.Channel) error {
		for name, kind := range map[string]string{b.names.events(): "topic", b.names.tail(): "fanout", b.names.ask(): "fanout"} {
			if err := ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
				return explain("exchange", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	there, err := exists(s, b.names.dead())
	if err != nil {
		return err
	}
	declare := func() error {
		return onChannel(s, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare(b.names.dead(), true, false, false, false, amqp091.Table{
				amqp091.QueueTypeArg: amqp091.QueueTypeQuorum, "x-delivery-limit": int64(noLimit),
			})
			return explain("queue", b.names.dead(), err)
		})
	}
	if there { // it may have other arguments
		return declare()
	}
	return b.alone(s, func() error {
		b.sealed = false
		if err := declare(); err != nil {
			return err
		}
		return b.seal(s)
	})
}

// alone does something while no other daemon makes or removes queues of subscriptions, nor changes the ledger. The broker says of
// a quorum queue that is just being made that it is there, and then refuses what is published to it; and what the ledger names
// must not be made when another daemon has just removed it.
func (b *Bus) alone(s *session, do func() error) error {
	b.making.Lock()
	defer b.making.Unlock()
	if err := b.lock(s); err != nil {
		return err
	}
	return errors.Join(do(), b.unlock(s))
}

// lock waits until no other connection makes queues. The lock is a queue that one connection at a time may have, and that goes
// with it.
func (b *Bus) lock(s *session) error {
	for began := time.Now(); ; {
		err := onChannel(s, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare(b.names.lock(), false, false, true, false, nil)
			return err
		})
		var refused *amqp091.Error
		if !errors.As(err, &refused) || refused.Code != amqp091.ResourceLocked {
			return explain("queue", b.names.lock(), err)
		}
		if time.Since(began) > callWait || s.isLost() {
			return fmt.Errorf("another daemon is making queues, for long (fix: see in its log why, and try again): %w", err)
		}
		rest(b.running, lockPause/2+rand.N(lockPause))
	}
}

func (b *Bus) unlock(s *session) error {
	return onChannel(s, func(ch *amqp091.Channel) error {
		_, err := ch.QueueDelete(b.names.lock(), false, false, false)
		return err
	})
}

// establish makes what each of the subscriptions needs. Queues are bound when all are made and sealed: nothing is put into one
// that the broker may still forget.
func (b *Bus) establish(s *session, subscriptions []bus.Subscription) error {
	var all errgroup.Group
	all.SetLimit(declareAtOnce)
	there, made := make([]bool, len(subscriptions)), make([]bool, len(subscriptions))
	for i, subscription := range subscriptions {
		all.Go(func() (err error) {
			if there[i], err = exists(s, b.names.queue(subscription)); err != nil {
				return err
			}
			err = onChannel(s, func(ch *amqp091.Channel) error { return b.makeQueues(ch, subscription) })
			made[i] = err == nil
			return err
		})
	}
	err := all.Wait() // those that could be made are bound
	if b.sealed = b.sealed && !slices.Contains(there, false); !b.sealed {
		if err := b.seal(s); err != nil {
			return err
		}
	}
	return errors.Join(err, onChannel(s, func(ch *amqp091.Channel) error {
		for i, subscription := range subscriptions {
			queue := b.names.queue(subscription)
			if !made[i] {
				continue
			}
			if err := ch.QueueBind(queue, binding(subscription.Pattern), b.names.events(), false, nil); err != nil {
				return explain("queue", queue, err)
			}
		}
		return nil
	}))
}

// makeQueues makes the queues of one subscription; that which is bound is the last.
func (b *Bus) makeQueues(ch *amqp091.Channel, s bus.Subscription) error {
	queue := b.names.queue(s)
	arguments := deadLettering(b.names.dead())
	arguments["x-delivery-limit"] = int64(deliveryLimit)
	if s.Ordered {
		arguments[amqp091.SingleActiveConsumerArg] = true
		arguments["x-consumer-timeout"] = int64(consumerTimeout)
		if err := b.establishHeld(ch, s); err != nil {
			return err
		}
	} else {
		for _, after := range levels { // before what sends there
			waiting := deadLettering(queue)
			waiting[amqp091.QueueMessageTTLArg] = after.Milliseconds()
			if _, err := ch.QueueDeclare(b.names.retry(s, after), true, false, false, false, waiting); err != nil {
				return explain("queue", b.names.retry(s, after), err)
			}
		}
	}
	_, err := ch.QueueDeclare(queue, true, false, false, false, arguments)
	return explain("queue", queue, err)
}

// seal has the broker write down the names of the quorum queues that were just made: RabbitMQ keeps that of the last one in
// memory for some time, unless it makes another. If its only node is killed before, the queue comes back empty and never has a
// leader. A queue that this daemon finds may have been made just now, by one that was killed or cut off before it came to this.
func (b *Bus) seal(s *session) error {
	return onChannel(s, func(ch *amqp091.Channel) error {
		seal := b.names.seal()
		remove := func() error { _, err := ch.QueueDelete(seal, false, false, false); return explain("queue", seal, err) }
		if err := remove(); err != nil { // it is there if whoever made it was killed, and then seals nothing
			return err
		}
		_, err := ch.QueueDeclare(seal, true, false, false, false, amqp091.Table{amqp091.QueueTypeArg: amqp091.QueueTypeQuorum})
		if err != nil {
			return explain("queue", seal, err)
		}
		b.sealed = true
		return remove()
	})
}

// exists tells whether a queue is there.
func exists(s *session, queue string) (bool, error) {
	err := onChannel(s, func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err
	})
	if isNotFound(err) {
		return false, nil
	}
	return err == nil, explain("queue", queue, err)
}

// deadLettering has what dies in a queue go to another one, and stay until it is there. That needs reject-publish.
func deadLettering(queue string) amqp091.Table {
	return amqp091.Table{
		amqp091.QueueTypeArg: amqp091.QueueTypeQuorum, amqp091.QueueOverflowArg: amqp091.QueueOverflowRejectPublish,
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, "x-dead-letter-strategy": "at-least-once",
	}
}

// remove deletes the queues of subscriptions that are gone, with what is in them.
func (b *Bus) remove(s *session, going []Entry) error {
	return onChannel(s, func(ch *amqp091.Channel) error {
		for _, e := range going {
			subscription := e.Subscription
			queues := []string{b.names.queue(subscription), b.names.held(subscription)}
			for _, after := range levels { // it may not always have been in order, or out of it
				queues = append(queues, b.names.retry(subscription, after))
			}
			for _, queue := range queues {
				if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
					return fmt.Errorf("delete queue %s: %w", queue, err)
				}
			}
		}
		return nil
	})
}

// onChannel does something on a channel of its own: one on which something was refused is of no use any more.
func onChannel(s *session, do func(*amqp091.Channel) error) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return fmt.Errorf("open a channel: %w", err)
	}
	err = do(ch)
	if e := ch.Close(); err == nil && e != nil {
		return fmt.Errorf("close a channel: %w", e)
	}
	return err
}

// errOther means that something of the name is there that is not what is wanted: trying again is no use.
var errOther = errors.New("it is on the broker with other arguments")

// explain says what to do about what the broker refused.
func explain(kind, name string, err error) error {
	var refused *amqp091.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refused):
		return fmt.Errorf("%s %s: %w", kind, name, err)
	case refused.Code == amqp091.PreconditionFailed:
		return fmt.Errorf("%s %s: %w: %s (fix: see that no other installation uses the same events.exchange. If a subscription has "+
			"changed its order, or it was made by hand: let the former version empty it, delete it with `rabbitmqctl delete_queue`, "+
			"or what an exchange is deleted with, and start again; platformd never deletes it)", kind, name, errOther, refused.Reason)
	case refused.Code == amqp091.AccessRefused:
		return fmt.Errorf("%s %s: %s (fix: `rabbitmqctl set_permissions` must let the user of events.url configure, write and read "+
			"all that begins with the value of events.exchange)", kind, name, refused.Reason)
	default:
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
}
