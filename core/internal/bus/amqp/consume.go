package amqp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// orderedWindow is how many deliveries of an ordered subscription come ahead of those that are handled: as many events of other
// keys are handled while some wait for their next attempt. It must be the same for every consumer, always: RabbitMQ puts what a
// consumer gives back behind what another one gave back before, so all of it must go to the next consumer at once.
const orderedWindow = 256

// consumers are the calls of Consume.
type consumers struct {
	mu       sync.Mutex
	running  map[*dispatcher]string // whose subscription's
	memories map[string]*memory     // by subscription
}

func (c *consumers) begin(d *dispatcher, subscription string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memories[subscription] == nil {
		c.memories[subscription] = newMemory()
	}
	d.memory = c.memories[subscription]
	c.running[d] = subscription
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, d)
	}
}

func (c *consumers) all() map[*dispatcher]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.running)
}

// Consume implements bus.Bus.
func (b *Bus) Consume(ctx context.Context, s bus.Subscription, c bus.Consumer) error {
	called, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	prefetch := max(1, c.Concurrency)
	if s.Ordered {
		prefetch = orderedWindow
	}
	d := newDispatcher(c.Concurrency, nil)
	defer b.consumers.begin(d, s.ID())()
	d.lane = func(m *amqp091.Delivery) string {
		if s.Ordered {
			return text(m.Headers, "partitionkey")
		}
		return ""
	}
	if s.Ordered {
		d.held = &held{bus: b, of: s, obsolete: map[string]bool{}}
		defer d.held.end(context.WithoutCancel(ctx))
	}
	settling := settler{bus: b, of: s, held: d.held, ctx: context.WithoutCancel(ctx), over: called, lost: d.lost, handle: c.Handle}
	d.handle = settling.settle
	return b.listen(called, listener{
		prefetch: prefetch,
		open: func(ctx context.Context, ch *amqp091.Channel) (string, error) {
			known, err := b.wanted(ctx, s)
			if err == nil && !known {
				err = fmt.Errorf("%w: %s", errGone, s.ID())
			}
			return b.names.queue(s), err
		},
		begin:  d.begin,
		arrive: d.arrive,
		lose:   d.lose,
		end: func(in *intake) {
			if in != nil && !s.Ordered { // else the next consumer would begin with events that come after those that are handled
				b.release(in, d)
			}
			d.end()
		},
		absent: func(ctx context.Context) error { return b.ensure(ctx, s) },
	})
}

// errGone means that nobody wants a subscription's deliveries any more.
var errGone = errors.New("the subscription is not declared, or not any more (fix: declare it, then consume it)")

// ensure makes a subscription's queues if it is still one.
func (b *Bus) ensure(ctx context.Context, s bus.Subscription) error {
	return b.onBroker(ctx, func(on *session) error {
		return b.alone(on, func() error {
			if known, err := b.wanted(ctx, s); err != nil {
				return err
			} else if !known {
				return fmt.Errorf("%w: %s", errGone, s.ID())
			}
			return b.establish(on, []bus.Subscription{s})
		})
	})
}

// release lets others have what came and is not being handled.
func (b *Bus) release(in *intake, d *dispatcher) {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	_ = in.channel.Cancel(consumerTag, true) // or they come back to us, and go on when the channel is closed
	for _, w := range d.idle() {
		if w.in == in {
			in.giveBack(w.message.DeliveryTag)
		}
	}
}

// settler does with deliveries of one subscription what its consumer says.
type settler struct {
	bus    *Bus
	of     bus.Subscription
	held   *held // of an ordered one
	ctx    context.Context
	over   context.Context // of the call of Consume
	lost   func(*work) bool
	handle func(context.Context, bus.Delivery) bus.Verdict
}

func (s *settler) settle(w *work) fate {
	if due := time.UnixMilli(number(w.message.Headers, headerDue)); !s.of.Ordered && time.Until(due) > levels[0] {
		return s.move(w, s.waiting(w, time.Until(due), w.attempt)) // it wanted to wait longer than any level
	}
	e, err := decode(&w.message)
	if err != nil {
		return s.move(w, s.letter(w, bus.Failure{Reason: bus.ReasonMalformed, Error: err.Error()}))
	}
	verdict := s.handle(s.ctx, bus.Delivery{Event: e, Subscription: s.of.ID(), Attempt: w.attempt})
	switch said := verdict.Fate(); {
	case said == bus.Died:
		return s.move(w, s.letter(w, verdict.Why()))
	case said == bus.Retried && s.of.Ordered:
		return s.hold(w, verdict.After())
	case said == bus.Retried:
		return s.move(w, s.waiting(w, verdict.After(), w.attempt+1))
	case said == bus.Released:
		return s.release(w)
	}
	return settled
}

var settled fate

// hold has a delivery tried again in its place.
func (s *settler) hold(w *work, after time.Duration) fate {
	f := fate{again: true, next: note{attempt: w.attempt + 1, due: time.Now().Add(after)}}
	s.place(w, s.held.note(w.id, f.next)) // if it cannot, it is known here all the same
	return f
}

// release has a delivery come again at once. Giving it back to the broker would bring it nearer to being abandoned.
func (s *settler) release(w *work) fate {
	if s.of.Ordered {
		return fate{again: true, next: note{attempt: w.attempt, due: time.Now().Add(releasePause)}}
	}
	headers := amqp091.Table{headerAttempt: int64(w.attempt)}
	return s.move(w, &parcel{key: s.bus.names.queue(s.of), message: again(&w.message, headers)})
}

// releasePause keeps one who releases a delivery again and again from doing nothing else.
const releasePause = 10 * time.Millisecond

// waiting is the message that comes back after a while.
func (s *settler) waiting(w *work, after time.Duration, attempt int) *parcel {
	headers := amqp091.Table{headerAttempt: int64(attempt)}
	if after > levels[len(levels)-1] {
		headers[headerDue] = time.Now().Add(after).UnixMilli()
	}
	return &parcel{key: s.bus.names.retry(s.of, level(after)), message: again(&w.message, headers)}
}

// maxError is how much of an error a dead letter keeps, in bytes.
const maxError = 4 << 10

// letter is the message of a dead letter.
func (s *settler) letter(w *work, why bus.Failure) *parcel {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	text := strings.ToValidUTF8(why.Error[:min(len(why.Error), maxError)], "\uFFFD")
	return &parcel{key: s.bus.names.dead(), message: again(&w.message, amqp091.Table{
		headerSubscription: s.of.ID(), headerReason: why.Reason, headerError: text,
		headerAttempt: int64(w.attempt), headerDied: now, headerLetter: letterID(s.of.ID(), &w.message, now),
	})}
}

// move publishes what stands for a delivery from now on; then the delivery is done with. Until the broker has confirmed it, it is
// not.
func (s *settler) move(w *work, what *parcel) fate {
	return fate{left: !s.place(w, what)}
}

// place publishes something about a delivery, and reports whether the broker has it. It does not, if the delivery comes again
// anyway, because its connection was lost, as there would be two of it; nor for ever, when Consume should end.
func (s *settler) place(w *work, what *parcel) bool {
	for pause := firstPause; !s.lost(w); pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(s.bus.running, callWait)
		err := s.bus.deliver(ctx, what)
		if errors.Is(err, bus.ErrUnroutable) { // its queue was deleted
			if err = s.bus.ensure(ctx, s.of); errors.Is(err, errGone) {
				cancel()
				return true // deliveries go with their subscription
			}
			err = errors.Join(bus.ErrUnroutable, err)
		}
		cancel()
		if err == nil {
			return true
		}
		s.bus.o.Log.Debug("what became of a delivery could not be written down", "subscription", s.of.ID(), "queue", what.key,
			"error", err)
		if s.over.Err() != nil {
			break
		}
		rest(s.over, pause)
	}
	return false
}
