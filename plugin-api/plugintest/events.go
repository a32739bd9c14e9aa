package plugintest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// eventsServer keeps what is published. Somebody subscribes to everything.
type eventsServer struct {
	corev1.UnimplementedEventsServer
	*core
}

// Publish implements corev1.EventsServer.
func (s *eventsServer) Publish(_ context.Context, req *corev1.PublishRequest) (*corev1.PublishResponse, error) {
	var events []pluginapi.Event
	var first error
	failures := &corev1.PublishFailures{}
	for i, sent := range req.GetEvents() {
		admitted, err := s.publishing.Admit(wire.EventOf(sent), event.NewTraceParent())
		switch {
		case err == nil:
			events = append(events, admitted)
			continue
		case !req.GetApart():
			return nil, err
		case first == nil:
			first = err
		}
		failures.Failures = append(failures.Failures, &corev1.PublishFailure{
			Index: int32(i), Code: int32(status.Code(err)), Message: status.Convert(err).Message(), //nolint:gosec // both are small
		})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published = append(s.published, events...)
	if first == nil {
		return &corev1.PublishResponse{}, nil
	}
	detailed, err := status.Convert(first).WithDetails(failures)
	if err != nil {
		return nil, first
	}
	return nil, detailed.Err()
}

// Relay implements corev1.EventsServer: Server.Published looks into the outbox when it is asked.
func (s *eventsServer) Relay(context.Context, *corev1.RelayRequest) (*corev1.RelayResponse, error) {
	if !s.manifest.Grants.Database || len(s.manifest.Events.Publishes) == 0 {
		return nil, status.Error(codes.PermissionDenied, "module.yaml grants no database, or publishes nothing")
	}
	return &corev1.RelayResponse{}, nil
}

// Published returns what the module has published, the oldest first: with core.Events, or with db.Publish in transactions that
// were committed. An event of the outbox that the core would make a dead letter of fails the test.
func (s *Server) Published() []pluginapi.Event {
	s.t.Helper()
	if s.database != nil && s.database.Outbox != nil && s.database.Work.Events {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.database.Outbox.Relay(ctx, s.relay); err != nil {
			s.t.Errorf("read the outbox: %v", err)
		}
	}
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	return slices.Clone(s.core.published)
}

func (s *Server) relay(e pluginapi.Event) {
	admitted, err := s.core.publishing.Admit(e, event.NewTraceParent())
	if err != nil {
		s.t.Errorf("the core would make a dead letter of an event in the outbox: %v", status.Convert(err).Message())
		return
	}
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	s.core.published = append(s.core.published, admitted)
}

// Deliver has the module handle an event as if another module had just published it, once by each of its subscriptions that want
// it. Of the event Type and Version must be set; what else is missing is filled in, the source with the module that the type
// belongs to. The error is the handlers': one with pluginapi.Drop is a *pluginapi.DropError. An event that no subscription wants
// is pluginapi.ErrUnroutable.
func (s *Server) Deliver(ctx context.Context, e pluginapi.Event) error {
	if e.Source == "" {
		owner, _, _ := strings.Cut(e.Type, ".")
		e.Source = event.SourceOf(owner)
	}
	e = e.Stamped(event.NewTraceParent())
	if err := e.Check(); err != nil {
		return err
	}
	var problems []error
	wanted := false
	for _, subscription := range s.manifest.Events.Subscribes {
		if event.Matches(subscription.Type, e.Type) {
			wanted = true
			problems = append(problems, s.handle(ctx, subscription, e))
		}
	}
	if !wanted {
		return fmt.Errorf("deliver %s: %w", e.Type, pluginapi.ErrUnroutable)
	}
	return errors.Join(problems...)
}

func (s *Server) handle(ctx context.Context, subscription manifest.Subscription, e pluginapi.Event) error {
	if e.Version > int(subscription.Version) {
		return pluginapi.Drop(fmt.Errorf("module.yaml subscribes to %s up to version %d, not %d (fix: raise version there)",
			subscription.Type, subscription.Version, e.Version))
	}
	ctx, cancel := context.WithTimeout(ctx, subscription.Timeout.Std())
	defer cancel()
	answer, err := s.module.Handle(ctx, &modulev1.HandleRequest{
		Event: wire.EventOnTheWire(e), Subscription: subscription.Type, Attempt: 1,
	})
	switch {
	case err != nil:
		return fmt.Errorf("handle %s: %w", e.Type, err)
	case answer.GetError() == "":
		return nil
	}
	err = fmt.Errorf("handle %s: %s", e.Type, answer.GetError())
	if answer.GetDrop() {
		return pluginapi.Drop(err)
	}
	return err
}
