package amqp

import (
	"context"
	"fmt"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// Pending implements bus.Bus. What is being handled, or waits ahead of it, is known of this daemon alone; and what the broker is
// just moving from one queue to another is in none for a moment.
func (b *Bus) Pending(ctx context.Context) (map[string]bus.Backlog, error) {
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	pending := map[string]bus.Backlog{}
	for module, subscriptions := range b.topology.all() {
		for _, s := range subscriptions {
			err := b.onBroker(ctx, func(on *session) (err error) {
				pending[s.ID()], err = b.backlog(on, s)
				return err
			})
			if err != nil {
				return nil, fmt.Errorf("count what waits for module %s: %w", module, err)
			}
		}
	}
	for d, id := range b.consumers.all() {
		backlog, ok := pending[id]
		if !ok {
			continue
		}
		ready, waiting, inFlight := d.count()
		backlog.Ready += ready
		backlog.Waiting += waiting
		backlog.InFlight += inFlight
		pending[id] = backlog
	}
	return pending, nil
}

// backlog is what the broker has of a subscription.
func (b *Bus) backlog(on *session, s bus.Subscription) (backlog bus.Backlog, err error) {
	if backlog.Ready, err = count(on, b.names.queue(s)); err != nil || s.Ordered {
		return backlog, err
	}
	for _, after := range levels {
		waiting, err := count(on, b.names.retry(s, after))
		if err != nil {
			return backlog, err
		}
		backlog.Waiting += waiting
	}
	return backlog, nil
}

// count tells how many messages wait in a queue. One that is not there has none.
func count(on *session, queue string) (n int64, err error) {
	err = onChannel(on, func(ch *amqp091.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		n = int64(q.Messages)
		return err
	})
	if isNotFound(err) {
		return 0, nil
	}
	return n, err
}
