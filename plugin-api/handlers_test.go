package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// listening is a module at work that handles events blog.*.
func listening(t *testing.T, handler EventHandler) wire.Server {
	t.Helper()
	server, err := NewServer(Module{Events: map[string]EventHandler{"blog.*": handler}}, hclog.NewNullLogger(), nil)
	require.NoError(t, err)
	_, err = server.Init(t.Context(), &modulev1.InitRequest{Name: "notify"})
	require.NoError(t, err)
	return server
}

func delivered() *modulev1.HandleRequest {
	return &modulev1.HandleRequest{Subscription: "blog.*", Attempt: 1, Event: wire.EventOnTheWire(sample())}
}

func sample() Event {
	return Event{
		ID: "1", Source: "/modules/blog", Type: "blog.post.created", Version: 2, Subject: "post/7", Key: "7",
		Time: time.Date(2026, 5, 4, 3, 2, 1, 5000, time.UTC), ContentType: event.JSON, Data: []byte(`{"id":7}`),
		TraceParent: "00-trace",
	}
}

func TestAnEventReachesItsHandler(t *testing.T) {
	t.Parallel()
	var got Event
	var ctx context.Context
	server := listening(t, func(c context.Context, e Event) error { got, ctx = e, c; return nil })
	answer, err := server.Handle(t.Context(), delivered())
	require.NoError(t, err)
	require.Empty(t, answer.GetError())
	require.Equal(t, sample(), got)
	require.Equal(t, "00-trace", TraceParentFrom(ctx))
	require.Equal(t, "blog.*", SubscriptionFrom(ctx))
	require.Equal(t, link.Anonymous(), PrincipalFrom(ctx))

	require.Empty(t, TraceParentFrom(t.Context()))
	require.Empty(t, SubscriptionFrom(t.Context()))
	require.Equal(t, "mine", TraceParentFrom(link.With(t.Context(), &link.Call{TraceParent: "mine"})))

	described, err := server.Describe(t.Context(), &modulev1.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"blog.*"}, described.GetSubscriptions())
}

func TestAHandlersErrorIsTheVerdict(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		handler func() error
		want    string
		drop    bool
	}{
		"error":              {func() error { return broken }, "broken", false},
		"drop":               {func() error { return Drop(broken) }, "broken", true},
		"drop, wrapped":      {func() error { return fmt.Errorf("handle: %w", Drop(broken)) }, "handle: broken", true},
		"panic":              {func() error { panic("broken") }, "panic: broken", false},
		"without words":      {func() error { return errors.New("") }, "an error without words", false},
		"what is no text":    {func() error { return errors.New("a\xff") }, "a\uFFFD", false},
		"drop of nothing":    {func() error { return Drop(nil) }, "", false},
		"canceled elsewhere": {func() error { return context.Canceled }, "context canceled", false},
		"long":               {func() error { return errors.New(strings.Repeat("x", 1<<20)) }, "xxx", false},
	} {
		server := listening(t, func(context.Context, Event) error { return c.handler() })
		answer, err := server.Handle(t.Context(), delivered())
		require.NoError(t, err, name)
		require.Contains(t, answer.GetError(), c.want, name)
		require.Equal(t, c.want == "", answer.GetError() == "", name)
		require.Equal(t, c.drop, answer.GetDrop(), name)
		require.LessOrEqual(t, len(answer.GetError()), maxReason)
	}
	require.ErrorIs(t, Drop(broken), broken)
}

func TestEventsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	server := listening(t, func(context.Context, Event) error { return nil })
	other := delivered()
	other.Subscription = "blog.post.created"
	_, err := server.Handle(t.Context(), other)
	require.Equal(t, codes.NotFound, status.Code(err))

	early, err := NewServer(Module{Events: map[string]EventHandler{
		"blog.*": func(context.Context, Event) error { return nil },
	}}, hclog.NewNullLogger(), nil)
	require.NoError(t, err)
	_, err = early.Handle(t.Context(), delivered())
	require.Equal(t, codes.Unavailable, status.Code(err), "before Init")

	_, err = server.Drain(t.Context(), &modulev1.DrainRequest{})
	require.NoError(t, err)
	_, err = server.Handle(t.Context(), delivered())
	require.Equal(t, codes.Unavailable, status.Code(err), "after Drain")
}

func TestDrainWaitsForHandlers(t *testing.T) {
	t.Parallel()
	began, finish := make(chan struct{}, 2), make(chan struct{})
	server := listening(t, func(context.Context, Event) error {
		began <- struct{}{}
		<-finish
		return nil
	})
	answers := make(chan error, 2)
	for range cap(answers) {
		go func() {
			_, err := server.Handle(t.Context(), delivered())
			answers <- err
		}()
		<-began
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := server.Drain(ctx, &modulev1.DrainRequest{})
	require.ErrorContains(t, err, "wait for the handlers of events")
	drained := make(chan error, 2)
	for range cap(drained) {
		go func() {
			_, err := server.Drain(t.Context(), &modulev1.DrainRequest{})
			drained <- err
		}()
	}
	finish <- struct{}{}
	require.NoError(t, <-answers)
	require.Empty(t, drained, "one still runs")
	finish <- struct{}{}
	require.NoError(t, <-answers)
	require.NoError(t, <-drained)
	require.NoError(t, <-drained)
}

func TestModulesWithBadEvents(t *testing.T) {
	t.Parallel()
	for want, events := range map[string]map[string]EventHandler{
		`Events["blog.*"] is nil`:         {"blog.*": nil},
		`"blog" is no type of event (fix`: {"blog": func(context.Context, Event) error { return nil }},
	} {
		_, err := NewServer(Module{Events: events}, nil, nil)
		require.ErrorContains(t, err, want)
	}
}

func TestEventsOverTheWire(t *testing.T) {
	t.Parallel()
	require.Equal(t, sample(), wire.EventOf(wire.EventOnTheWire(sample())))
	require.Equal(t, Event{}, wire.EventOf(wire.EventOnTheWire(Event{})))
	require.Equal(t, Event{}, wire.EventOf(&corev1.Event{}))
	require.Equal(t, Event{}, wire.EventOf(nil))
}
