// Package bus carries events from whoever publishes them to the subscriptions that want them, durably: what Publish has
// acknowledged is delivered to each of them at least once, whatever is killed meanwhile. There are two buses, embedded (tables in
// the core's database, no server) and amqp (RabbitMQ); both pass the suite bustest.
//
// Floor 2. It must not know modules' processes, nor decide what becomes of a delivery: whoever consumes does (bridge).
package bus

import (
	"context"
	"errors"
	"time"
)

// Errors of Bus. An error that wraps none of them is the caller's context's.
var (
	// ErrUnroutable means that no subscription wants the event: it is not kept, and nobody will ever see it.
	ErrUnroutable = errors.New("no subscription wants this event (fix: install a module that subscribes to it, or go on without)")
	// ErrUnavailable means that the bus did not answer in time. The event may have been taken: publish it again, with the same id.
	ErrUnavailable = errors.New(
		"the event bus does not answer (fix: try again; the operator sees that the server of events.url runs)")
	// ErrRefused means that the bus is there and did not take the event, for example because its disk is full.
	ErrRefused = errors.New("the event bus refused the event (fix: see the server's log; its disk or memory may be full)")
	// ErrSkipped means that an event of the same key before it in the same call was not taken, so that this one was not tried.
	ErrSkipped = errors.New("an event before it, of the same key, was not published (fix: publish both again, in order)")
	// ErrClosed means that the bus was closed.
	ErrClosed = errors.New("the event bus is closed: platformd is stopping (fix: try again when it is up)")
)

// A Bus is safe for concurrent use. Every method has a deadline of its own, of at most 30 seconds, besides its context's, except
// for those that say how long they run.
type Bus interface {
	// Declare makes the subscriptions of a module exactly these: an event that is published after it has returned waits for each
	// of them that wants it, whether or not anybody consumes. The deliveries of one that is gone are removed with it. Declaring
	// what is there changes nothing. An error says what to do, for example about a queue with other arguments, which is never
	// deleted.
	Declare(ctx context.Context, module string, subscriptions []Subscription) error

	// Publish returns when every event is kept durably for all subscriptions that want it, or is not. The result is nil if all
	// are, else it has an error for each that is not, at its place. Events of one key are kept in the order they are given: each
	// is tried after the one before it has been taken. Events without a key, and those of different keys, have no order. An event
	// must be valid (Event.Check). What is published again with the same source and id may be delivered again.
	Publish(ctx context.Context, events []Event) []error

	// Consume hands deliveries of one subscription to c.Handle until ctx ends, then waits for those that are being handled, and
	// returns nil. It goes on by itself after the bus was away, and returns an error only where trying again is no use. Several
	// daemons, and several calls, may consume one subscription: each delivery is with one of them. A delivery that whoever had it
	// did not finish, because it was killed or cut off, comes again.
	Consume(ctx context.Context, s Subscription, c Consumer) error

	// Redeliver puts an event into one subscription, as if it had just been published, and returns when it is kept.
	Redeliver(ctx context.Context, subscription string, e Event) error

	// DeadLetters hands over what Dead was said of, of all subscriptions, until ctx ends; then it returns nil. A letter is gone from
	// the bus when keep has returned nil, and comes again, with the same ID, when keep returned an error or its daemon was killed.
	DeadLetters(ctx context.Context, keep func(context.Context, DeadLetter) error) error

	// Peek shows the deliveries that wait in a module's subscriptions, and takes none of them; it does not see those that a consumer
	// has. It lasts as long as there are more. An error of see ends it, and is returned. Where nothing consumes an ordered
	// subscription meanwhile, its order stays.
	Peek(ctx context.Context, module string, see func(subscription string, e Event) error) error

	// Forget removes all that the bus has of a module: its subscriptions, also those of earlier versions, their deliveries, and its
	// dead letters that have not been handed over. What nobody has of it is no error.
	Forget(ctx context.Context, module string) error

	// Pending tells how many deliveries of each declared subscription are not finished, by Subscription.ID.
	Pending(ctx context.Context) (map[string]Backlog, error)

	// Tail shows what is published to any subscription from now on, by whichever daemon, until ctx ends; then it returns nil. It
	// may leave events out, and takes none from anybody. pattern is as Subscription.Pattern; "" is every type.
	Tail(ctx context.Context, pattern string, see func(Event)) error

	// Close returns when nothing runs any more. Calls that are under way get ErrClosed.
	Close() error
}

// Subscription is what one module wants to hear of.
type Subscription struct {
	// Module is whose it is.
	Module string
	// Pattern is a type (blog.post.created), or the beginning of types with a star (blog.post.*, blog.*): Matches.
	Pattern string
	// Ordered has events of one key handled one after the other, in the order they were published, also when one must be tried
	// again: it keeps those behind it waiting. Events without a key have no order.
	Ordered bool
}

// ID names the subscription among all: its module and its pattern.
func (s Subscription) ID() string { return s.Module + ":" + s.Pattern }

// Consumer says how deliveries are handled.
type Consumer struct {
	// Concurrency is how many deliveries are handled at once; 0 is 1.
	Concurrency int
	// Handle decides what becomes of one. ctx is that of Consume without its end: a delivery that has begun may be finished. It
	// must return within a time of its own.
	Handle func(ctx context.Context, d Delivery) Verdict
}

// Delivery is one event on its way to one subscription.
type Delivery struct {
	Event        Event
	Subscription string // its ID
	// Attempt counts from 1. What whoever was killed had begun does not count.
	Attempt int
}

// Verdict is what becomes of a delivery. The zero value is Ack.
type Verdict struct {
	fate  Fate
	after time.Duration
	why   Failure
}

// Fate is what is done with a delivery.
type Fate int

// The fates.
const (
	Acked Fate = iota
	Retried
	Died
	Released
)

// String is for metrics.
func (f Fate) String() string {
	switch f {
	case Acked:
		return "acked"
	case Retried:
		return "retried"
	case Died:
		return "died"
	case Released:
		return "released"
	}
	return "unknown"
}

// Failure says why a delivery was not acknowledged.
type Failure struct {
	// Reason is one of the Reason constants.
	Reason string
	// Error is what went wrong last, for people.
	Error string
}

// Why deliveries die.
const (
	ReasonAttempts  = "attempts"        // as often as the subscription allows
	ReasonDropped   = "dropped"         // the handler said that trying again is no use
	ReasonVersion   = "version"         // of a version that the module does not know yet
	ReasonAbandoned = "abandoned"       // whoever had it was killed or cut off too often
	ReasonMalformed = "malformed_event" // what came is no event
	ReasonRefused   = "refused"         // out of an outbox: the manifest does not let the module publish it; it has no subscription
)

// Ack ends a delivery: it has had its effect.
func Ack() Verdict { return Verdict{} }

// Retry has the delivery come again after a while, with one attempt more. On an ordered subscription those of its key wait.
func Retry(after time.Duration, why Failure) Verdict {
	return Verdict{fate: Retried, after: after, why: why}
}

// Release gives the delivery back as if it had not been begun: it comes again at once, to whoever consumes, with the same attempt
// and in its place among those of its key. It is for who cannot handle it now.
func Release() Verdict { return Verdict{fate: Released} }

// Dead makes a dead letter of the delivery.
func Dead(why Failure) Verdict { return Verdict{fate: Died, why: why} }

// Fate is what is to be done.
func (v Verdict) Fate() Fate { return v.fate }

// After is how long a Retried delivery waits.
func (v Verdict) After() time.Duration { return v.after }

// Why says what went wrong, if anything did.
func (v Verdict) Why() Failure { return v.why }

// DeadLetter is a delivery that came to nothing.
type DeadLetter struct {
	// ID is the letter's own: the same event may die in several subscriptions, and in one again after it was redelivered.
	ID           string
	Subscription string
	Event        Event
	Failure      Failure
	Attempts     int
	At           time.Time // UTC
}

// Backlog is what a subscription has before it.
type Backlog struct {
	Ready    int64 // waits for a consumer
	Waiting  int64 // will be tried again later
	InFlight int64 // is being handled, as far as the bus knows
	// Oldest is when the oldest was published; zero if the bus does not know.
	Oldest time.Time
}
