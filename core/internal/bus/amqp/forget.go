package amqp

import (
	"context"
	"fmt"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// peekWait is how long no delivery comes of a queue that has no more: while some are given back to it, it counts fewer.
const peekWait = time.Second

// Peek implements bus.Bus. The broker may count for each delivery that it was handed out once more, of which deliveryLimit are
// allowed.
func (b *Bus) Peek(ctx context.Context, module string, see func(subscription string, e bus.Event) error) error {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	all, err := b.subscriptions(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Module != module {
			continue
		}
		queues := []string{b.names.queue(s)}
		for _, after := range levels {
			queues = append(queues, b.names.retry(s, after))
		}
		for _, queue := range queues {
			if err := b.peek(ctx, queue, func(e bus.Event) error { return see(s.ID(), e) }); err != nil {
				return fmt.Errorf("look at what waits in queue %s: %w", queue, err)
			}
		}
	}
	return nil
}

// peek looks once: what has been seen must not be seen again, so that a lost connection ends it.
func (b *Bus) peek(ctx context.Context, queue string, see func(bus.Event) error) error {
	on, why := b.consuming.session(ctx)
	if on == nil {
		return b.ended(ctx, why)
	}
	n, _, err := messages(on, queue)
	if err != nil || n == 0 {
		return err
	}
	return onChannel(on, func(ch *amqp091.Channel) error {
		deliveries, err := ch.Consume(queue, consumerTag, false, false, false, false, nil)
		if err != nil {
			return err
		}
		timeout := time.NewTimer(peekWait)
		defer timeout.Stop()
		for last := (amqp091.Delivery{}); ; timeout.Reset(peekWait) {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return errLost
				}
				e, _ := decode(&d) // as far as it can be
				if err := see(e); err != nil {
					return err
				}
				last = d
			case <-timeout.C:
				if last.Acknowledger == nil {
					return nil
				}
				return last.Nack(true, true) // all at once: so they keep their order
			case <-ctx.Done():
				return b.ended(ctx, nil)
			}
		}
	})
}

// Forget implements bus.Bus. Letters that a daemon has been handed, and has not kept yet, it does not see.
func (b *Bus) Forget(ctx context.Context, module string) error {
	if err := b.Declare(ctx, module, nil); err != nil {
		return err
	}
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = b.onBroker(ctx, func(on *session) error {
		return onChannel(on, func(ch *amqp091.Channel) error { return b.forgetLetters(ctx, ch, module) })
	})
	if err != nil {
		return fmt.Errorf("forget the dead letters of module %s: %w", module, err)
	}
	return nil
}

// forgetLetters goes through the letters that wait, and gives back those of others.
func (b *Bus) forgetLetters(ctx context.Context, ch *amqp091.Channel, module string) error {
	for others := (amqp091.Delivery{}); ; {
		d, ok, err := ch.Get(b.names.dead(), false)
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok && others.Acknowledger != nil:
			return others.Nack(true, true)
		case !ok:
			return nil
		case !strings.HasPrefix(b.read(ctx, &d).Subscription, module+":"):
			others = d
		default:
			if err := d.Ack(false); err != nil {
				return err
			}
		}
	}
}
