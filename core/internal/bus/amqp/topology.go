package amqp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

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
)

// topology is what this bus has declared.
type topology struct {
	turn     chan struct{} // held by whoever declares: one at a time
	mu       sync.Mutex
	declared map[string][]bus.Subscription
}

func (t *topology) get(module string) (subscriptions []bus.Subscription, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	subscriptions, known = t.declared[module]
	return subscriptions, known
}

func (t *topology) put(module string, subscriptions []bus.Subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.declared[module] = subscriptions
}

func (t *topology) all() map[string][]bus.Subscription {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string][]bus.Subscription, len(t.declared))
	for module, subscriptions := range t.declared {
		all[module] = subscriptions
	}
	return all
}

// Declare implements bus.Bus.
func (b *Bus) Declare(ctx context.Context, module string, subscriptions []bus.Subscription) error {
	for _, s := range subscriptions {
		if err := bus.CheckPattern(s.Pattern); err != nil {
			return fmt.Errorf("subscriptions of module %s: %w", module, err)
		}
		if s.Module != module {
			return fmt.Errorf("subscription %s is not of module %s (fix: declare each module's own)", s.ID(), module)
		}
	}
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		return err
	}
	defer leave()
	select {
	case b.topology.turn <- struct{}{}:
		defer func() { <-b.topology.turn }()
	case <-ctx.Done():
		return b.ended(ctx, nil)
	}
	if err := b.declare(ctx, module, slices.Clone(subscriptions)); err != nil {
		return fmt.Errorf("declare the subscriptions of module %s: %w", module, err)
	}
	return nil
}

// declare writes into the ledger before it makes anything, and after it has removed what is gone, so that whenever it is killed,
// no queue is forgotten.
func (b *Bus) declare(ctx context.Context, module string, wanted []bus.Subscription) error {
	before, err := b.remembered(ctx, module)
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(slices.Clone(before), func(s bus.Subscription) bool { return has(wanted, s) })
	if b.o.Ledger != nil && !sameSubscriptions(before, append(slices.Clone(wanted), gone...)) {
		if err := b.o.Ledger.Put(ctx, module, append(slices.Clone(wanted), gone...)); err != nil {
			return fmt.Errorf("remember them: %w", err)
		}
	}
	if err := b.onBroker(ctx, func(s *session) error { return b.establish(s, wanted) }); err != nil {
		return err
	}
	b.topology.put(module, wanted) // before those that are gone go, so that their consumers see why
	if len(gone) == 0 {
		return nil
	}
	if err := b.onBroker(ctx, func(s *session) error { return b.remove(s, gone) }); err != nil {
		return err
	}
	if b.o.Ledger != nil {
		if err := b.o.Ledger.Put(ctx, module, wanted); err != nil {
			return fmt.Errorf("forget those that are gone: %w", err)
		}
	}
	return nil
}

// remembered is what the module had until now: as the ledger says, and as this bus knows.
func (b *Bus) remembered(ctx context.Context, module string) ([]bus.Subscription, error) {
	known, _ := b.topology.get(module)
	if b.o.Ledger == nil {
		return known, nil
	}
	written, err := b.o.Ledger.Get(ctx, module)
	if err != nil {
		return nil, fmt.Errorf("find out which the module had: %w", err)
	}
	for _, s := range known {
		if !has(written, s) {
			written = append(written, s)
		}
	}
	return written, nil
}

func has(subscriptions []bus.Subscription, s bus.Subscription) bool {
	return slices.ContainsFunc(subscriptions, func(other bus.Subscription) bool { return other.ID() == s.ID() })
}

func sameSubscriptions(a, b []bus.Subscription) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s bus.Subscription) bool { return !slices.Contains(b, s) })
}

// onBroker does something on the publishing connection, again if it is lost meanwhile.
func (b *Bus) onBroker(ctx context.Context, do func(*session) error) error {
	var last error
	for {
		s, why := b.publishing.session(ctx)
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

// wanted tells whether a subscription is still one. What another daemon has removed is not made again.
func (b *Bus) wanted(ctx context.Context, s bus.Subscription) bool {
	declared, _ := b.topology.get(s.Module)
	if !has(declared, s) {
		return false
	}
	if b.o.Ledger == nil {
		return true
	}
	written, err := b.o.Ledger.Get(ctx, s.Module)
	return err != nil || has(written, s) // in doubt it is
}

// preparePublishing makes again on a new connection what was declared: the broker may have lost it.
func (b *Bus) preparePublishing(ctx context.Context, s *session) error {
	if err := b.establishBase(s); err != nil {
		return err
	}
	for module, subscriptions := range b.topology.all() {
		subscriptions = slices.DeleteFunc(slices.Clone(subscriptions), func(s bus.Subscription) bool { return !b.wanted(ctx, s) })
		if err := b.establish(s, subscriptions); err != nil {
			if s.isLost() {
				return err
			}
			b.o.Log.Error("cannot make the queues of a module's subscriptions", "module", module, "error", err)
		}
	}
	if err := b.openPublisher(s); err != nil {
		return err
	}
	return b.openCopies(s)
}

// establishBase makes what all subscriptions share.
func (b *Bus) establishBase(s *session) error {
	return onChannel(s, func(ch *amqp091.Channel) error {
		for name, kind := range map[string]string{b.names.events(): "topic", b.names.tail(): "fanout"} {
			if err := ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
				return explain("exchange", name, err)
			}
		}
		_, err := ch.QueueDeclare(b.names.dead(), true, false, false, false, amqp091.Table{
			amqp091.QueueTypeArg: amqp091.QueueTypeQuorum, "x-delivery-limit": int64(noLimit),
		})
		return explain("queue", b.names.dead(), err)
	})
}

// establish makes what each of the subscriptions needs.
func (b *Bus) establish(s *session, subscriptions []bus.Subscription) error {
	var all errgroup.Group
	all.SetLimit(declareAtOnce)
	for _, subscription := range subscriptions {
		all.Go(func() error {
			return onChannel(s, func(ch *amqp091.Channel) error { return b.establishOne(ch, subscription) })
		})
	}
	return all.Wait()
}

func (b *Bus) establishOne(ch *amqp091.Channel, s bus.Subscription) error {
	queue := b.names.queue(s)
	arguments := deadLettering(b.names.dead())
	arguments["x-delivery-limit"] = int64(deliveryLimit)
	if s.Ordered {
		arguments[amqp091.SingleActiveConsumerArg] = true
		arguments["x-consumer-timeout"] = int64(consumerTimeout)
	} else {
		for _, after := range levels { // before what sends there
			waiting := deadLettering(queue)
			waiting[amqp091.QueueMessageTTLArg] = after.Milliseconds()
			if _, err := ch.QueueDeclare(b.names.retry(s, after), true, false, false, false, waiting); err != nil {
				return explain("queue", b.names.retry(s, after), err)
			}
		}
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, arguments); err != nil {
		return explain("queue", queue, err)
	}
	return explain("queue", queue, ch.QueueBind(queue, binding(s.Pattern), b.names.events(), false, nil))
}

// deadLettering has what dies in a queue go to another one, and stay until it is there. That needs reject-publish.
func deadLettering(queue string) amqp091.Table {
	return amqp091.Table{
		amqp091.QueueTypeArg: amqp091.QueueTypeQuorum, amqp091.QueueOverflowArg: amqp091.QueueOverflowRejectPublish,
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, "x-dead-letter-strategy": "at-least-once",
	}
}

// remove deletes the queues of subscriptions that are gone, with what is in them.
func (b *Bus) remove(s *session, gone []bus.Subscription) error {
	return onChannel(s, func(ch *amqp091.Channel) error {
		for _, subscription := range gone {
			queues := []string{b.names.queue(subscription)}
			for _, after := range levels { // also of an ordered one, which may not always have been
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
