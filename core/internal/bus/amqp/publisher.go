package amqp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
)

// errLost means that a connection was lost before the broker said what became of a parcel.
var errLost = errors.New("the connection to the broker was lost")

// parcel is a message on its way to the broker.
type parcel struct {
	exchange, key string
	message       amqp091.Publishing
	done          func(error) // called when the broker has said what became of it, or cannot any more; must not block

	by       *publisher // who sent it last
	sent     time.Time
	tag      uint64
	returned bool
}

// publisher sends on one channel of one session.
type publisher struct {
	channel  *amqp091.Channel
	confirms chan amqp091.Confirmation
	returns  chan amqp091.Return
	slots    chan struct{}
	write    chan struct{} // held by who writes: tags are counted in the order of writing
	next     uint64

	mu       sync.Mutex
	over     bool
	onTheWay map[uint64]*parcel // by tag; each has a slot, which whoever takes it from here gives back
}

// openPublisher gives a session its publisher.
func (b *Bus) openPublisher(s *session) error {
	ch, err := s.conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return fmt.Errorf("open a channel to publish on: %w", err)
	}
	p := &publisher{channel: ch, slots: b.slots, write: make(chan struct{}, 1), onTheWay: map[uint64]*parcel{}}
	// The library waits a while for whoever does not listen, and then goes on without: run listens and never waits.
	p.confirms = ch.NotifyPublish(make(chan amqp091.Confirmation, b.o.InFlight))
	p.returns = ch.NotifyReturn(make(chan amqp091.Return, b.o.InFlight))
	s.publisher = p
	b.workers.Go(func() {
		p.run()
		s.kill() // a channel that the broker closed leaves a connection without one to publish on
	})
	return nil
}

// run hears what becomes of what was sent, until the channel is closed.
func (p *publisher) run() {
	returns := p.returns
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			p.markReturned(&r)
		case c, ok := <-p.confirms:
			p.drainReturns() // they come before their confirms
			if !ok {
				p.fail()
				return
			}
			p.confirmed(c)
		}
	}
}

func (p *publisher) drainReturns() {
	for {
		select {
		case r, ok := <-p.returns:
			if !ok {
				return
			}
			p.markReturned(&r)
		default:
			return
		}
	}
}

func (p *publisher) markReturned(r *amqp091.Return) {
	tag, err := strconv.ParseUint(r.CorrelationId, 36, 64)
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent := p.onTheWay[tag]; err == nil && sent != nil {
		sent.returned = true
	}
}

func (p *publisher) confirmed(c amqp091.Confirmation) {
	p.mu.Lock()
	sent := p.onTheWay[c.DeliveryTag]
	p.mu.Unlock()
	switch {
	case sent == nil || !p.take(sent):
	case !c.Ack:
		sent.done(bus.ErrRefused)
	case sent.returned:
		sent.done(bus.ErrUnroutable)
	default:
		sent.done(nil)
	}
}

// take has nothing more said of a parcel, unless somebody else has done that.
func (p *publisher) take(sent *parcel) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onTheWay[sent.tag] != sent {
		return false
	}
	delete(p.onTheWay, sent.tag)
	<-p.slots
	return true
}

// fail tells all that are on the way that nobody will hear what became of them.
func (p *publisher) fail() {
	p.mu.Lock()
	p.over = true
	lost := p.onTheWay
	p.onTheWay = nil
	p.mu.Unlock()
	for _, sent := range lost {
		<-p.slots
		sent.done(errLost)
	}
}

// send writes a parcel that has a slot. Its done is called if and only if the error is nil, unless it is abandoned.
func (p *publisher) send(ctx context.Context, what *parcel) error {
	select {
	case p.write <- struct{}{}:
		defer func() { <-p.write }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		return errLost
	}
	p.next++
	what.by, what.sent, what.tag, what.returned = p, time.Now(), p.next, false
	what.message.CorrelationId = strconv.FormatUint(what.tag, 36)
	p.onTheWay[what.tag] = what
	p.mu.Unlock()
	_, err := p.channel.PublishWithDeferredConfirm(what.exchange, what.key, true, false, what.message)
	if err == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.onTheWay[what.tag] != what { // fail had it
		return nil
	}
	delete(p.onTheWay, what.tag)
	p.over = true // the library counts it, or does not
	return fmt.Errorf("%w: %w", errLost, err)
}

// abandon has done of a parcel called no more.
func (b *Bus) abandon(what *parcel) {
	if what.by != nil && what.by.take(what) && time.Since(what.sent) > confirmWait {
		b.outages.unconfirmed(what.key)
	}
}

// ship sends a parcel as soon as there is a connection that takes it, and room for it on the way.
func (b *Bus) ship(ctx context.Context, what *parcel) error {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return b.ended(ctx, errors.New("too many events are on their way"))
	}
	why := errors.New("it takes nothing")
	for ctx.Err() == nil {
		s, err := b.publishing.session(ctx)
		if s == nil {
			why = errors.Join(err)
			break
		}
		if shut := s.blocked.opens(); shut != nil {
			why = errShort
			wait(ctx, shut, s.lost)
			continue
		}
		if err := s.publisher.send(ctx, what); err == nil {
			return nil
		} else if errors.Is(err, errLost) {
			why = err
			s.kill()
			wait(ctx, s.lost, nil)
		}
	}
	<-b.slots
	return b.ended(ctx, why)
}

// wait waits for one of them.
func wait(ctx context.Context, a, b <-chan struct{}) {
	select {
	case <-a:
	case <-b:
	case <-ctx.Done():
	}
}

// deliver publishes one message, and again if a connection is lost, until the broker has said what became of it.
func (b *Bus) deliver(ctx context.Context, what *parcel) error {
	for {
		answer := make(chan error, 1)
		what.done = func(err error) { answer <- err }
		if err := b.ship(ctx, what); err != nil {
			return err
		}
		select {
		case err := <-answer:
			if !errors.Is(err, errLost) {
				return err
			}
		case <-ctx.Done():
			b.abandon(what)
			return b.ended(ctx, errUnconfirmed)
		}
	}
}

// Why nothing was heard of a parcel.
var (
	errUnconfirmed = errors.New("the broker has not confirmed it")
	errShort       = errors.New("the broker is short of memory or disk, and takes nothing")
)
