package pluginapi

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Events tells other modules what has happened in this one, as the manifest declares under events.publishes. It is safe for
// concurrent use. What must be published if, and only if, a change of the module's data is kept, db.Publish publishes.
type Events struct {
	client       corev1.EventsClient
	publications *publications
	source       string
	gathering    gathering
}

// Publish returns when the event is kept durably for all subscriptions that want it. Errors: ErrUnroutable if there is none,
// ErrEventsAway, ErrEventRefused; codes.InvalidArgument for an event that is none or does not fit its schema,
// codes.PermissionDenied for a type that the manifest does not declare.
//
// Calls at the same time are sent to the core together. They stay calls of their own: one that fails, or whose context ends, does
// not touch the others.
func (e *Events) Publish(ctx context.Context, one Event) error {
	sent, err := e.ready(ctx, one)
	if err == nil {
		err = e.gathering.publish(ctx, e.publications, sent)
	}
	if err != nil {
		return fmt.Errorf("publish %.99q: %w", one.Type, named(err))
	}
	return nil
}

// ready is an event as it is sent.
func (e *Events) ready(ctx context.Context, one Event) (*corev1.Event, error) {
	one.Source = e.source
	one = one.Stamped(TraceParentFrom(ctx))
	if err := one.Check(); err != nil { // what is no text would break the whole message
		return nil, err
	}
	return wire.EventOnTheWire(one), nil
}

// PublishAll publishes up to 100 events. Those of one key are kept in the order they are given; the others have no order. When it
// returns a *PublishError, that says which were not published; codes.InvalidArgument and codes.PermissionDenied mean that none
// was. After any other error it is not known: publish them again, with the same IDs.
func (e *Events) PublishAll(ctx context.Context, events ...Event) error {
	req := &corev1.PublishRequest{Events: make([]*corev1.Event, len(events))}
	for i, one := range events {
		sent, err := e.ready(ctx, one)
		if err != nil {
			return fmt.Errorf("publish %.99q: %w", one.Type, err)
		}
		req.Events[i] = sent
	}
	err := e.publications.publish(ctx, req)
	if err == nil {
		return nil
	}
	if failed := failures(err, events); failed != nil {
		return failed
	}
	return fmt.Errorf("publish %d events: %w", len(events), named(err))
}

// failures is what the details of an error say about each event; nil if they say nothing.
func failures(err error, events []Event) error {
	each := failuresOf(err, len(events))
	if each == nil {
		return nil
	}
	for i, one := range each {
		if one != nil {
			each[i] = fmt.Errorf("publish %s: %w", events[i].Type, named(one))
		}
	}
	return &PublishError{Errors: each}
}

// failuresOf is what the details of an error say about each of n events, as gRPC's errors; nil if they say nothing.
func failuresOf(err error, n int) []error {
	for _, detail := range status.Convert(err).Details() {
		list, ok := detail.(*corev1.PublishFailures)
		if !ok {
			continue
		}
		each, some := make([]error, n), false
		for _, f := range list.GetFailures() {
			if at := int(f.GetIndex()); at >= 0 && at < n {
				each[at], some = status.Error(codes.Code(f.GetCode()), f.GetMessage()), true //nolint:gosec // codes are small
			}
		}
		if some {
			return each
		}
	}
	return nil
}

// unpublished is an error of Publish under the name that callers test for, and with what it means to a client.
type unpublished struct {
	name   error
	status *status.Status
}

// Error implements error.
func (e *unpublished) Error() string { return e.status.Message() }

// Unwrap serves errors.Is.
func (e *unpublished) Unwrap() error { return e.name }

// GRPCStatus is what a module that returns the error answers.
func (e *unpublished) GRPCStatus() *status.Status { return e.status }

func named(err error) error {
	said := status.Convert(err)
	names := map[codes.Code]error{
		codes.FailedPrecondition: ErrUnroutable, codes.Unavailable: ErrEventsAway, codes.ResourceExhausted: ErrEventRefused,
		codes.Aborted: ErrEventSkipped,
	}
	if name := names[said.Code()]; name != nil {
		return &unpublished{name: name, status: said}
	}
	return err
}

// Relay tells the core that there are events in the module's outbox, so that it need not find them by itself. Package db calls it
// after each commit.
func (e *Events) Relay(ctx context.Context) error {
	_, err := e.client.Relay(ctx, &corev1.RelayRequest{})
	return err
}

func newEvents(client corev1.EventsClient, module string) *Events {
	return &Events{client: client, publications: newPublications(client), source: event.SourceOf(module)}
}
