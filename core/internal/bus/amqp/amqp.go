// Package amqp is the event bus over RabbitMQ, 3.10 or later: a topic exchange, a quorum queue for each subscription, and
// queues in which what must be tried again waits. names.go says what there is on the broker; why it is so is written in
// docs/decisions/0023-events-over-rabbitmq.md.
//
// Floor 2. It must not decide what becomes of a delivery, and never deletes a queue for having other arguments than it wants.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/config"
)

// How long things may take.
const (
	callWait  = 30 * time.Second // a method of Bus, whatever its context allows
	dialWait  = 5 * time.Second  // until a broker has said that a connection is open
	writeWait = 5 * time.Second  // until a broker has read what was sent to it
	closeWait = 2 * time.Second  // a good-bye
)

// Options say which broker, and how.
type Options struct {
	// URL is the broker's: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS.
	URL config.SecretURL
	// Exchange is the beginning of the name of all that the bus has on the broker; "" is platformd. Installations that share a
	// virtual host must differ in it, and the daemons of one must not.
	Exchange string
	// Ledger remembers what each module subscribed to; nil remembers what this bus has declared, as long as it is open.
	Ledger Ledger
	// Log is where outages are told; nil is nowhere.
	Log hclog.Logger
	// InFlight is how many events may be on their way to the broker at once; 0 is 256.
	InFlight int
	// Heartbeat is how often each side says that it is alive; 0 is 5 s. A broker that is silent for three of them is gone.
	Heartbeat time.Duration
}

// A Ledger remembers the subscriptions of all modules, for all daemons of an installation and beyond their ends: a broker cannot
// be asked which queues it has, so those of a subscription that is gone are found only by what is written here. It is a table
// with a row for each Subscription.ID; its methods are safe for concurrent use, by several daemons too.
type Ledger interface {
	All(ctx context.Context) ([]Entry, error)
	// Put writes rows; one that is there is overwritten.
	Put(ctx context.Context, entries []Entry) error
	// Remove removes rows, by their ID. One that is not there is gone already.
	Remove(ctx context.Context, entries []Entry) error
}

// Entry is a row of a Ledger.
type Entry struct {
	bus.Subscription
	// Going is set when it is not wanted any more, and its queues may still be there.
	Going bool
}

// Bus is a bus.Bus.
type Bus struct {
	o     Options
	names names
	id    string // nobody else's

	// A call ends when open does; connections end when the last call has: what is being handled may still be settled.
	open     context.Context
	close    context.CancelCauseFunc
	running  context.Context
	stop     context.CancelFunc
	calls    sync.WaitGroup
	workers  sync.WaitGroup
	entering sync.Mutex // calls.Add against calls.Wait

	publishing, consuming *line
	outages               *outages
	slots                 chan struct{} // one for each event on its way
	tails                 tails
	declaring             chan struct{} // held by whoever declares: one at a time
	making                sync.Mutex    // held by whoever makes queues; guards sealed
	sealed                bool          // whatever this daemon has made or found
	consumers             consumers
}

var _ bus.Bus = (*Bus)(nil)

var prefixForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// Open makes a bus. It does not wait for the broker: one that is away is tried again until it is there.
func Open(ctx context.Context, o Options) (*Bus, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	b := &Bus{o: o, names: names(o.Exchange), id: publication(), slots: make(chan struct{}, o.InFlight)}
	base := context.WithoutCancel(ctx)
	b.open, b.close = context.WithCancelCause(base)
	b.running, b.stop = context.WithCancel(base)
	b.declaring = make(chan struct{}, 1)
	if o.Ledger == nil {
		b.o.Ledger = &ownLedger{rows: map[string]Entry{}}
	}
	b.consumers.memories = map[string]*memory{}
	b.consumers.running = map[*dispatcher]string{}
	b.outages = &outages{log: o.Log, address: address(o.URL)}
	b.publishing = newLine("publish", b.outages, b.preparePublishing)
	b.consuming = newLine("consume", b.outages, b.prepareConsuming)
	for _, l := range []*line{b.publishing, b.consuming} {
		b.workers.Go(func() { l.run(b.running, &b.o) })
	}
	b.calls.Go(func() { b.answer(b.open) })
	return b, nil
}

func (o *Options) complete() error {
	if o.Exchange == "" {
		o.Exchange = "platformd"
	}
	if !prefixForm.MatchString(o.Exchange) || len(o.Exchange) > 3 && o.Exchange[:4] == "amq." {
		return fmt.Errorf("events.exchange %.80q is no name of an exchange (fix: write up to 64 letters, digits, dots, _ and -, "+
			"and do not begin with amq.)", o.Exchange)
	}
	u, err := url.Parse(o.URL.Reveal())
	if err == nil {
		_, err = amqp091.ParseURI(o.URL.Reveal())
	}
	if err != nil || u.Host == "" { // the error's text may hold a password
		return errors.New("events.url is not the URL of a RabbitMQ server (fix: write amqp://USER:PASSWORD@HOST:PORT/VHOST, " +
			"or amqps:// for TLS; characters such as @ and / in a password are written as %40 and %2F)")
	}
	if u.Query().Has("heartbeat") {
		return errors.New("events.url sets heartbeat, which decides when a broker is taken for dead (fix: leave heartbeat out)")
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.InFlight <= 0 {
		o.InFlight = 256
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 5 * time.Second
	}
	return nil
}

// address is where the broker is, without what is secret.
func address(secret config.SecretURL) string {
	if u, err := url.Parse(secret.Reveal()); err == nil {
		return u.Host
	}
	return "?"
}

// Close implements bus.Bus.
func (b *Bus) Close() error {
	b.entering.Lock()
	b.close(bus.ErrClosed)
	b.entering.Unlock()
	b.calls.Wait()
	b.stop()
	b.workers.Wait()
	return nil
}

// enter begins a call: its context ends with the bus, too. The caller calls leave at its end.
func (b *Bus) enter(ctx context.Context) (called context.Context, leave func(), err error) {
	b.entering.Lock()
	defer b.entering.Unlock()
	if b.open.Err() != nil {
		return nil, nil, bus.ErrClosed
	}
	b.calls.Add(1)
	called, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(b.open, func() { cancel(bus.ErrClosed) })
	return called, func() {
		unhook()
		cancel(nil)
		b.calls.Done()
	}, nil
}

// enterBounded is enter for a call that has a deadline of its own.
func (b *Bus) enterBounded(ctx context.Context) (called context.Context, leave func(), err error) {
	entered, exit, err := b.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	if entered.Err() != nil {
		defer exit()
		return nil, nil, b.ended(entered, nil)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= callWait {
		return entered, exit, nil // it is bounded as it is: a timer for each publication would be one too many
	}
	bounded, cancel := context.WithTimeout(entered, callWait)
	return bounded, func() { cancel(); exit() }, nil
}

// ended says why a call's context is over, to the caller: what is a matter of time is the broker's doing.
func (b *Bus) ended(ctx context.Context, last error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, bus.ErrClosed):
		return bus.ErrClosed
	case !errors.Is(cause, context.DeadlineExceeded):
		return cause
	case last != nil:
		return fmt.Errorf("%w: %w: %w", bus.ErrUnavailable, cause, last)
	default:
		return fmt.Errorf("%w: %w", bus.ErrUnavailable, cause)
	}
}

// within runs what has no context, because the library offers none, and leaves it alone when ctx ends: it ends by itself, at the
// latest when the connection does. undo then takes back what it has done.
func within[T any](ctx context.Context, b *Bus, do func() (T, error), undo func(T)) (result T, err error) {
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome)
	b.workers.Go(func() {
		var o outcome
		o.result, o.err = do()
		select {
		case done <- o:
		case <-ctx.Done():
			if o.err == nil && undo != nil {
				undo(o.result)
			}
		}
	})
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return result, context.Cause(ctx)
	}
}
