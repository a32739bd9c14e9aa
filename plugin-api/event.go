package pluginapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/link"
)

// Event is something that has happened, a CloudEvent 1.0.2. Who publishes one gives Type and Version, which the manifest declares
// under events.publishes, and Data; Subject and Key if they mean something. Source is the module, whatever it says; ID, Time and
// TraceParent are made where they are missing. An event that is published again, because it is not known whether it was
// published, must have the same ID: give it one of its own before.
type Event = event.Event

// EventHandler has one event had its effect. Its error is its verdict: nil means that it had; with Drop the event becomes a dead
// letter at once; any other, and a panic, has it come again after a while, until the manifest's retry.max, when it becomes a dead
// letter. ctx ends with the subscription's timeout.
//
// The same event may come more than once, also after it was handled: db.Once makes sure that it has its effect once. Handlers run
// concurrently, as far as the manifest's concurrency and order say.
type EventHandler func(ctx context.Context, e Event) error

// DropError is an error of an EventHandler after which trying again is no use.
type DropError struct{ Err error }

// Error implements error.
func (e *DropError) Error() string { return e.Err.Error() }

// Unwrap serves errors.Is and errors.As.
func (e *DropError) Unwrap() error { return e.Err }

// Drop says that an event must not come again, for example because its data makes no sense: it becomes a dead letter, with err as
// the reason, which the operator sees and may retry. Of nil it makes nil.
func Drop(err error) error {
	if err == nil {
		return nil
	}
	return &DropError{Err: err}
}

// Why an event was not published: Events.Publish returns errors that match one of them with errors.Is, or are gRPC's.
var (
	// ErrUnroutable means that no subscription wants the event: it is not kept, and nobody will ever see it. Who does not care
	// whether anybody listens goes on.
	ErrUnroutable = errors.New("no subscription wants this event")
	// ErrEventsAway means that the bus does not answer. The event may have been published: do it again, with the same ID.
	ErrEventsAway = errors.New("the event bus does not answer")
	// ErrEventRefused means that the bus is there and did not take the event, for example because its disk is full.
	ErrEventRefused = errors.New("the event bus refused the event")
	// ErrEventSkipped means that an event of the same key before it in the same call was not published, so that this one was not
	// tried.
	ErrEventSkipped = errors.New("an event before it, of the same key, was not published")
)

// PublishError says which events of a call were not published.
type PublishError struct {
	// Errors has an error at the place of each event that was not, and nil for the others.
	Errors []error
}

// Error implements error.
func (e *PublishError) Error() string {
	failed := e.Unwrap()
	if len(failed) == 1 {
		return failed[0].Error()
	}
	return fmt.Sprintf("%d of %d events were not published; the first: %v", len(failed), len(e.Errors), failed[0])
}

// Unwrap serves errors.Is and errors.As.
func (e *PublishError) Unwrap() []error {
	var failed []error
	for _, err := range e.Errors {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

type deliveryKey struct{}

// delivery is what the context of an EventHandler knows.
type delivery struct{ subscription, traceParent string }

// SubscriptionFrom returns the pattern of the subscription by which the event came that ctx belongs to; "" outside of an
// EventHandler. A module that subscribes to blog.* and to blog.post.* gets each event of a post by both.
func SubscriptionFrom(ctx context.Context) string {
	d, _ := ctx.Value(deliveryKey{}).(delivery)
	return d.subscription
}

// TraceParentFrom returns the trace that the request or the event belongs to which ctx came with, as the W3C's header; "" if it
// came with neither. Events that are published with the context continue it.
func TraceParentFrom(ctx context.Context) string {
	if d, ok := ctx.Value(deliveryKey{}).(delivery); ok {
		return d.traceParent
	}
	if call := link.FromContext(ctx); call != nil {
		return call.TraceParent
	}
	return ""
}
