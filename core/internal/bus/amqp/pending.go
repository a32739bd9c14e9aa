package amqp

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// answerWait is how long other daemons are waited for that should say what they have.
const answerWait = 2 * time.Second

// had is what one daemon has of a subscription: the broker tells of no delivery that is with a consumer.
type had struct {
	Consumers                int // that have begun
	Ready, Waiting, InFlight int64
}

// Pending implements bus.Bus. What is with another daemon is known if that daemon answers. Deliveries move while they are
// counted: a subscription that seems to have none is looked at once more.
func (b *Bus) Pending(ctx context.Context) (map[string]bus.Backlog, error) {
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	subscriptions, err := b.subscriptions(ctx)
	if err != nil {
		return nil, err
	}
	pending := map[string]bus.Backlog{}
	for pass := range 2 {
		if pass > 0 {
			rest(ctx, lookAgain)
		}
		c := census{pending: pending, consumers: map[string]int{}}
		if err := b.count(ctx, subscriptions, &c); err != nil {
			return nil, err
		}
		subscriptions = slices.DeleteFunc(subscriptions, func(s bus.Subscription) bool { return pending[s.ID()] != bus.Backlog{} })
	}
	return pending, nil
}

// lookAgain is how long what the broker moves from one queue to another may be in none.
const lookAgain = 20 * time.Millisecond

// census is a count of what some subscriptions have.
type census struct {
	pending   map[string]bus.Backlog
	consumers map[string]int // that have not said what they have
}

// count counts what subscriptions have.
func (b *Bus) count(ctx context.Context, subscriptions []bus.Subscription, c *census) error {
	err := b.onBroker(ctx, func(on *session) error {
		for _, s := range subscriptions {
			backlog, n, err := b.backlog(on, s)
			if err != nil {
				return fmt.Errorf("count what waits for %s: %w", s.ID(), err)
			}
			c.pending[s.ID()], c.consumers[s.ID()] = backlog, n
		}
		return nil
	})
	if err == nil && c.add(b.have()) {
		err = b.onBroker(ctx, func(on *session) error { return b.askOthers(on, c.add) })
	}
	return err
}

// add adds what a daemon has, and reports whether others have more.
func (c *census) add(all map[string]had) (missing bool) {
	for id, have := range all {
		if _, counted := c.consumers[id]; counted {
			backlog := c.pending[id]
			backlog.Ready += have.Ready
			backlog.Waiting += have.Waiting
			backlog.InFlight += have.InFlight
			c.pending[id] = backlog
			c.consumers[id] -= have.Consumers
		}
	}
	for _, n := range c.consumers {
		missing = missing || n > 0
	}
	return missing
}

// have is what this daemon has.
func (b *Bus) have() map[string]had {
	all := map[string]had{}
	for d, id := range b.consumers.all() {
		have := all[id]
		d.count(&have)
		all[id] = have
	}
	return all
}

// backlog is what the broker has of a subscription, and how many consume it. What goes from one queue to another while they are
// counted is rather counted twice than not at all.
func (b *Bus) backlog(on *session, s bus.Subscription) (backlog bus.Backlog, consumers int, err error) {
	for _, after := range levels {
		if s.Ordered {
			break
		}
		waiting, _, err := messages(on, b.names.retry(s, after))
		if err != nil {
			return backlog, 0, err
		}
		backlog.Waiting += waiting
	}
	backlog.Ready, consumers, err = messages(on, b.names.queue(s))
	return backlog, consumers, err
}

// messages tells how many wait in a queue. One that is not there has none.
func messages(on *session, queue string) (n int64, consumers int, err error) {
	err = onChannel(on, func(ch *amqp091.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		n, consumers = int64(q.Messages), q.Consumers
		return err
	})
	if isNotFound(err) {
		return 0, 0, nil
	}
	return n, consumers, err
}

// askOthers asks all daemons what they have, and adds up what they say until nothing is missing.
func (b *Bus) askOthers(on *session, add func(map[string]had) (missing bool)) error {
	return onChannel(on, func(ch *amqp091.Channel) error {
		queue, err := ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return fmt.Errorf("ask other daemons: %w", err)
		}
		answers, err := ch.Consume(queue.Name, consumerTag, true, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("ask other daemons: %w", err)
		}
		if err := b.say(b.names.ask(), "", amqp091.Publishing{ReplyTo: queue.Name, CorrelationId: b.id}); err != nil {
			b.o.Log.Debug("other daemons are not asked what is with them", "error", err)
			return nil
		}
		timeout := time.NewTimer(answerWait)
		defer timeout.Stop()
		for {
			select {
			case m, ok := <-answers:
				if !ok {
					return errLost
				}
				var all map[string]had
				if err := json.Unmarshal(m.Body, &all); err != nil {
					return fmt.Errorf("another daemon's answer: %w", err)
				}
				if !add(all) {
					return nil
				}
			case <-timeout.C: // it was just killed, or is of another version
				return nil
			}
		}
	})
}

// answer tells other daemons what this one has, until ctx ends.
func (b *Bus) answer(ctx context.Context) {
	err := b.listen(ctx, listener{
		prefetch: tailWindow,
		open: func(_ context.Context, ch *amqp091.Channel) (string, error) {
			queue, err := ch.QueueDeclare("", false, true, true, false, nil)
			if err != nil {
				return "", err
			}
			return queue.Name, ch.QueueBind(queue.Name, "", b.names.ask(), false, nil)
		},
		begin: func(*intake) {},
		arrive: func(_ context.Context, in *intake, m *amqp091.Delivery) {
			in.ack(m.DeliveryTag, func() {})
			if m.CorrelationId == b.id {
				return
			}
			said, err := json.Marshal(b.have())
			if err == nil {
				err = b.say("", m.ReplyTo, amqp091.Publishing{Body: said})
			}
			if err != nil {
				b.o.Log.Debug("another daemon was not told what is with this one", "error", err)
			}
		},
		lose: func(*intake) {},
	})
	if err != nil && ctx.Err() == nil {
		b.o.Log.Error("other daemons do not learn any more what is with this one", "error", err)
	}
}
