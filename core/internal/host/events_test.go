package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/bus"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/manifest"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// schemaOf is the one schema that there is.
func schemaOf(string) (*jsonschema.Resolved, error) {
	var s jsonschema.Schema
	text := `{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "name": {"pattern": "^[a-z]+$"}}}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	return s.Resolve(nil)
}

// publisher is a manifest of shop that publishes.
func publisher() *manifest.Manifest {
	return &manifest.Manifest{Name: "shop", Grants: manifest.Grants{Database: true}, Events: manifest.Events{
		Publishes: []manifest.Publication{
			{Type: "shop.order.paid", Version: 1, Schema: "paid.json"}, {Type: "shop.order.paid", Version: 3},
			{Type: "shop.order.sent", Version: 1},
		},
	}}
}

// published collects what reaches the bus.
type published struct{ events []bus.Event }

func (p *published) take(_ context.Context, events []bus.Event) []error {
	p.events = append(p.events, events...)
	return nil
}

func TestWhatReachesTheBus(t *testing.T) {
	t.Parallel()
	r, got := newRig(t), &published{}
	r.deps.Publish = got.take
	conn := r.connect(publisher())
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, conn)
	happened := time.Date(2026, 5, 4, 3, 2, 1, 5000, time.UTC)
	whole := pluginapi.Event{
		ID: "1", Source: "/modules/blog", Type: "shop.order.paid", Version: 1, Subject: "order/7", Key: "7", Time: happened,
		ContentType: event.JSON, Data: []byte(`{"id":7}`), TraceParent: event.NewTraceParent(),
	}
	require.NoError(t, core.Events.PublishAll(t.Context(), whole, pluginapi.Event{Type: "shop.order.sent", Version: 1}))
	whole.Source = "/modules/shop"
	require.Len(t, got.events, 2)
	require.Equal(t, whole, got.events[0])
	require.NotEmpty(t, got.events[1].ID)
	require.NotEmpty(t, got.events[1].TraceParent)
	require.WithinDuration(t, time.Now(), got.events[1].Time, time.Minute)

	// What is not the SDK leaves out more.
	client := corev1.NewEventsClient(conn)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-trace")
	_, err := client.Publish(ctx, &corev1.PublishRequest{Events: []*corev1.Event{
		{Type: "shop.order.paid", Version: 3, ContentType: "text/plain", Data: []byte("{")},
	}})
	require.NoError(t, err)
	bare := got.events[2]
	require.NoError(t, bare.Check())
	require.Equal(t, "/modules/shop", bare.Source)
	require.Equal(t, "00-trace", bare.TraceParent)
	_, err = client.Publish(t.Context(), &corev1.PublishRequest{})
	require.NoError(t, err)
	require.Len(t, got.events, 3)
}

// badEvent is what is wrong with an event, and what is said about it.
type badEvent struct {
	spoil func(*corev1.Event)
	code  codes.Code
	want  string
}

func badEvents() map[string]badEvent {
	return map[string]badEvent{
		"undeclared type":     {func(e *corev1.Event) { e.Type = "shop.order.lost" }, codes.PermissionDenied, "events.publishes"},
		"another module's":    {func(e *corev1.Event) { e.Type = "blog.post.created" }, codes.PermissionDenied, "events.publishes"},
		"the platform's":      {func(e *corev1.Event) { e.Type = "platform.module.ready" }, codes.PermissionDenied, "events.publishes"},
		"no type":             {func(e *corev1.Event) { e.Type = "" }, codes.InvalidArgument, "the event's type"},
		"a pattern":           {func(e *corev1.Event) { e.Type = "shop.*" }, codes.InvalidArgument, "the event's type"},
		"undeclared version":  {func(e *corev1.Event) { e.Version = 2 }, codes.InvalidArgument, "version 2"},
		"no version":          {func(e *corev1.Event) { e.Version = 0 }, codes.InvalidArgument, "the event's version"},
		"not JSON":            {func(e *corev1.Event) { e.Data = []byte(`{"id":`) }, codes.InvalidArgument, "not JSON"},
		"two values":          {func(e *corev1.Event) { e.Data = []byte(`{"id":1}{}`) }, codes.InvalidArgument, "not JSON"},
		"not JSON, no schema": {func(e *corev1.Event) { e.Version, e.Data = 3, []byte("x") }, codes.InvalidArgument, "not JSON"},
		"no data":             {func(e *corev1.Event) { e.Data = nil }, codes.InvalidArgument, "not JSON"},
		"text with a schema":  {func(e *corev1.Event) { e.ContentType = "text/plain" }, codes.InvalidArgument, "send JSON"},
		"unfit, missing":      {func(e *corev1.Event) { e.Data = []byte(`{}`) }, codes.InvalidArgument, `missing properties: ["id"]`},
		"unfit, wrong type":   {func(e *corev1.Event) { e.Data = []byte(`{"id":"hunter2"}`) }, codes.InvalidArgument, "properties/id"},
		"unfit, pattern": {
			func(e *corev1.Event) { e.Data = []byte(`{"id":1,"name":"hunter2"}`) }, codes.InvalidArgument, "the schema's `pattern`",
		},
		"too large": {
			func(e *corev1.Event) { e.Data = []byte(`{"id":1,"x":"` + strings.Repeat("x", event.MaxData) + `"}`) },
			codes.InvalidArgument, "send at most 262144",
		},
		"key too long":    {func(e *corev1.Event) { e.Key = strings.Repeat("x", 256) }, codes.InvalidArgument, "the event's key"},
		"id with control": {func(e *corev1.Event) { e.Id = "a\x00" }, codes.InvalidArgument, "the event's id"},
	}
}

func TestWhatDoesNotReachTheBus(t *testing.T) {
	t.Parallel()
	r, got := newRig(t), &published{}
	r.deps.Publish = got.take
	client := corev1.NewEventsClient(r.connect(publisher()))
	good := func() *corev1.Event {
		return &corev1.Event{Type: "shop.order.paid", Version: 1, Data: []byte(`{"id":7}`)}
	}
	for name, c := range badEvents() {
		bad := good()
		c.spoil(bad)
		for _, events := range [][]*corev1.Event{{bad}, {good(), bad}} {
			_, err := client.Publish(t.Context(), &corev1.PublishRequest{Events: events})
			require.Equal(t, c.code, status.Code(err), "%s: %v", name, err)
			require.ErrorContains(t, err, c.want, name)
			require.ErrorContains(t, err, "(fix: ", name)
			require.NotContains(t, err.Error(), "hunter2", name)
			if len(events) == 2 {
				require.ErrorContains(t, err, "event 2: ", name)
			}
		}
	}
	_, err := client.Publish(t.Context(), &corev1.PublishRequest{Events: make([]*corev1.Event, 101)})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	future := good()
	future.Time = &timestamppb.Timestamp{Seconds: 1 << 60}
	_, err = client.Publish(t.Context(), &corev1.PublishRequest{Events: []*corev1.Event{future}})
	require.NoError(t, err, "a time that is none is none")
	require.Len(t, got.events, 1)
	require.Eventually(t, func() bool {
		rows, err := r.deps.Audit.Search(t.Context(), audit.Filter{Action: "core.call", Outcome: audit.Denied, Limit: 1})
		return err == nil && len(rows) == 1 && rows[0].Via == "shop" && rows[0].Resource == "/platform.core.v1.Events/Publish"
	}, 10*time.Second, 10*time.Millisecond)
}

// TestWhatTheBusSays goes through the SDK, as a module does.
func TestWhatTheBusSays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var says []error
	r.deps.Publish = func(context.Context, []bus.Event) []error { return says }
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(publisher()))
	sent := pluginapi.Event{Type: "shop.order.sent", Version: 1}
	for _, c := range []struct {
		said, want error
		code       codes.Code
	}{
		{bus.ErrUnroutable, pluginapi.ErrUnroutable, codes.FailedPrecondition},
		{bus.ErrUnavailable, pluginapi.ErrEventsAway, codes.Unavailable},
		{bus.ErrClosed, pluginapi.ErrEventsAway, codes.Unavailable},
		{bus.ErrRefused, pluginapi.ErrEventRefused, codes.ResourceExhausted},
		{bus.ErrSkipped, pluginapi.ErrEventSkipped, codes.Aborted},
	} {
		says = []error{fmt.Errorf("the secret of the bus: %w", c.said)}
		err := core.Events.Publish(t.Context(), sent)
		require.ErrorIs(t, err, c.want)
		var carrier interface{ GRPCStatus() *status.Status }
		require.ErrorAs(t, err, &carrier)
		require.Equal(t, c.code, carrier.GRPCStatus().Code())
		require.NotContains(t, err.Error(), "secret")
	}
	says = []error{nil, bus.ErrUnavailable, bus.ErrSkipped}
	err := core.Events.PublishAll(t.Context(), sent, sent, sent)
	var failed *pluginapi.PublishError
	require.ErrorAs(t, err, &failed)
	require.Len(t, failed.Errors, 3)
	require.NoError(t, failed.Errors[0])
	require.ErrorIs(t, failed.Errors[1], pluginapi.ErrEventsAway)
	require.ErrorIs(t, failed.Errors[2], pluginapi.ErrEventSkipped)
	require.ErrorContains(t, err, "2 of 3 events were not published")

	says = []error{context.DeadlineExceeded}
	require.Equal(t, codes.DeadlineExceeded, status.Code(core.Events.Publish(t.Context(), sent)))
	says = nil
	require.NoError(t, core.Events.Publish(t.Context(), sent))
	err = core.Events.Publish(t.Context(), pluginapi.Event{Type: "shop.order.lost", Version: 1})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.ErrorContains(t, core.Events.Publish(t.Context(), pluginapi.Event{Type: "x\xff"}), "invalid_event")
}

func TestRelayIsForThoseWithAnOutbox(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := make(chan string, 1)
	r.deps.Relay = func(module string) { told <- module }
	require.NoError(t, pluginapi.NewCore(pluginapi.Core{Name: "x"}, nil, r.connect(publisher())).Events.Relay(t.Context()))
	require.Equal(t, "shop", <-told)
	listener := publisher()
	listener.Events.Publishes = nil
	without := publisher()
	without.Grants.Database = false
	for _, m := range []*manifest.Manifest{listener, without} {
		_, err := corev1.NewEventsClient(r.connect(m)).Relay(t.Context(), &corev1.RelayRequest{})
		require.Equal(t, codes.PermissionDenied, status.Code(err))
		require.ErrorContains(t, err, "(fix: ")
	}
	require.Empty(t, told)
}

func TestAPlatformWithoutEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deps.Publish, r.deps.Relay = nil, nil
	_, err := corev1.NewEventsClient(r.connect(publisher())).Publish(t.Context(), &corev1.PublishRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err))
}
