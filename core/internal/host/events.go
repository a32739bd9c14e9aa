package host

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/wire"
	"github.com/platformd/platformd/plugin-api/wire/guard"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// maxEvents bounds the events of one call.
const maxEvents = 100

type eventsServer struct {
	corev1.UnimplementedEventsServer
	*caller
	publishing *guard.Publishing
}

// Publish implements corev1.EventsServer. A module publishes in its own name, whoever sent the request that it answers.
func (s *eventsServer) Publish(ctx context.Context, req *corev1.PublishRequest) (*corev1.PublishResponse, error) {
	if n := len(req.GetEvents()); n > maxEvents {
		return nil, status.Errorf(codes.InvalidArgument, "%d events are too many for one call (fix: send at most %d)", n, maxEvents)
	}
	sent := req.GetEvents()
	events, places, errs := make([]bus.Event, 0, len(sent)), make([]int, 0, len(sent)), make([]error, len(sent))
	trace := traceOf(ctx)
	for i := range sent {
		admitted, err := s.admit(ctx, sent[i], trace)
		switch {
		case err == nil:
			events, places = append(events, admitted), append(places, i)
		case !req.GetApart():
			return nil, numbered(err, i, len(sent))
		}
		errs[i] = err
	}
	if len(events) > 0 {
		for i, err := range s.deps.Publish(ctx, events) {
			if err != nil {
				errs[places[i]] = s.publishFailure(err)
			}
		}
	}
	return &corev1.PublishResponse{}, unpublished(errs)
}

// admit returns an event as the module may publish it.
func (s *eventsServer) admit(ctx context.Context, sent *corev1.Event, trace string) (bus.Event, error) {
	admitted, err := s.publishing.Admit(wire.EventOf(sent), trace)
	if status.Code(err) == codes.PermissionDenied {
		s.denied(ctx, corev1.Events_Publish_FullMethodName)
	}
	return admitted, err
}

// numbered says which of several events an error is about.
func numbered(err error, i, of int) error {
	if of == 1 {
		return err
	}
	return status.Errorf(status.Code(err), "event %d: %s", i+1, status.Convert(err).Message())
}

// traceOf is the trace that the module says its call belongs to, or a new one.
func traceOf(ctx context.Context) string {
	if shown := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(shown) == 1 {
		return shown[0]
	}
	return event.NewTraceParent()
}

// unpublished is the error of the first event that was not published, with all of them in its details; nil if there is none.
func unpublished(errs []error) error {
	failures := &corev1.PublishFailures{}
	var first *status.Status
	for i, err := range errs {
		if err == nil {
			continue
		}
		one := status.Convert(err)
		if first == nil {
			first = one
		}
		failures.Failures = append(failures.Failures, &corev1.PublishFailure{
			Index: int32(i), Code: int32(one.Code()), Message: one.Message(), //nolint:gosec // both are small
		})
	}
	if first == nil {
		return nil
	}
	detailed, err := first.WithDetails(failures)
	if err != nil { // it cannot be encoded, which only a message that is no text would be
		return first.Err()
	}
	return detailed.Err()
}

func (s *eventsServer) publishFailure(err error) error {
	for _, known := range []struct {
		err  error
		code codes.Code
	}{
		{bus.ErrUnroutable, codes.FailedPrecondition}, {bus.ErrUnavailable, codes.Unavailable}, {bus.ErrClosed, codes.Unavailable},
		{bus.ErrRefused, codes.ResourceExhausted}, {bus.ErrSkipped, codes.Aborted},
	} {
		if errors.Is(err, known.err) {
			return status.Error(known.code, known.err.Error())
		}
	}
	return s.refused("events cannot be published", err)
}

// Relay implements corev1.EventsServer.
func (s *eventsServer) Relay(context.Context, *corev1.RelayRequest) (*corev1.RelayResponse, error) {
	if m := s.manifest; !m.Grants.Database || len(m.Events.Publishes) == 0 {
		return nil, status.Error(codes.PermissionDenied, fmt.Sprintf("module %s has no outbox (fix: write grants: { database: true }, "+
			"and events.publishes, in its module.yaml)", m.Name))
	}
	s.deps.Relay(s.manifest.Name)
	return &corev1.RelayResponse{}, nil
}
