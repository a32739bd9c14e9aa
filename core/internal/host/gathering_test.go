package host_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
	pluginapi "github.com/platformd/platformd/plugin-api"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// slowBus takes events when it is let, and remembers which came together.
type slowBus struct {
	let chan struct{}

	mu    sync.Mutex
	calls [][]bus.Event
}

func (b *slowBus) publish(ctx context.Context, events []bus.Event) []error {
	b.mu.Lock()
	b.calls = append(b.calls, events)
	b.mu.Unlock()
	errs := make([]error, len(events))
	select {
	case <-b.let:
	case <-ctx.Done():
	}
	for i, e := range events {
		if e.Subject == "unwanted" {
			errs[i] = bus.ErrUnroutable
		}
	}
	return errs
}

// came are the events of all calls so far.
func (b *slowBus) came() (calls int, all []bus.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, events := range b.calls {
		all = append(all, events...)
	}
	return len(b.calls), all
}

// publishing is one call of Publish that is under way.
type publishing chan error

// crowd is a module that publishes while the bus is slow.
type crowd struct {
	*testing.T
	*slowBus
	events *pluginapi.Events
}

// newCrowd has as many calls under way as go by themselves; what comes after waits.
func newCrowd(t *testing.T) *crowd {
	t.Helper()
	r := newRig(t)
	c := &crowd{T: t, slowBus: &slowBus{let: make(chan struct{})}}
	r.deps.Publish = c.publish
	c.events = pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(publisher())).Events
	const alone = 4
	for i := range alone {
		c.begin(t.Context(), pluginapi.Event{ID: fmt.Sprint("alone", i), Type: "shop.order.sent"})
	}
	require.Eventually(t, func() bool { n, _ := c.came(); return n == alone }, 10*time.Second, time.Millisecond)
	return c
}

// begin publishes, and returns when the call waits.
func (c *crowd) begin(ctx context.Context, e pluginapi.Event) publishing {
	e.Version = 1
	done := make(publishing, 1)
	go func() { done <- c.events.Publish(ctx, e) }()
	<-time.After(time.Millisecond) // the order in which they wait is that of this test
	return done
}

func (c *crowd) result(p publishing) error {
	c.Helper()
	select {
	case err := <-p:
		return err
	case <-time.After(10 * time.Second):
		c.Fatal("it does not return")
	}
	return nil
}

// TestPublishingTogether: events that are published at the same time go together, and each caller hears of its own.
func TestPublishingTogether(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	good := c.begin(t.Context(), pluginapi.Event{ID: "good", Type: "shop.order.sent"})
	unwanted := c.begin(t.Context(), pluginapi.Event{ID: "unwanted", Type: "shop.order.sent", Subject: "unwanted"})
	undeclared := c.begin(t.Context(), pluginapi.Event{ID: "undeclared", Type: "shop.order.lost"})
	unfit := c.begin(t.Context(), pluginapi.Event{ID: "unfit", Type: "shop.order.paid", Data: []byte(`{}`)})
	one := c.begin(t.Context(), pluginapi.Event{ID: "one", Type: "shop.order.sent", Key: "k", Subject: "unwanted"})
	two := c.begin(t.Context(), pluginapi.Event{ID: "two", Type: "shop.order.sent", Key: "k"})
	impatient, give := context.WithCancel(t.Context())
	gone := c.begin(impatient, pluginapi.Event{ID: "gone", Type: "shop.order.sent"})
	give()
	require.Equal(t, codes.Canceled, status.Code(c.result(gone)))
	close(c.let)
	require.NoError(t, c.result(good))
	require.ErrorIs(t, c.result(unwanted), pluginapi.ErrUnroutable)
	err := c.result(undeclared)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.ErrorContains(t, err, "events.publishes")
	require.Equal(t, codes.InvalidArgument, status.Code(c.result(unfit)))
	require.ErrorIs(t, c.result(one), pluginapi.ErrUnroutable)
	require.NoError(t, c.result(two), "nobody gave it an order with the one before")

	calls, all := c.came()
	require.Equal(t, 4+2, calls, "the second of one key goes by itself")
	traces := map[string]bool{}
	for _, e := range all {
		require.NotEqual(t, "gone", e.ID, "nobody waited for it any more")
		traces[e.TraceParent] = true
	}
	require.Len(t, traces, len(all), "each has a trace of its own")
}

// TestManyArePublishedTogether in calls that the core takes.
func TestManyArePublishedTogether(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	const small, large = 250, 8
	var all []publishing
	for i := range small {
		all = append(all, c.begin(t.Context(), pluginapi.Event{ID: fmt.Sprint(i), Type: "shop.order.sent"}))
	}
	for i := range large {
		all = append(all, c.begin(t.Context(), pluginapi.Event{
			ID: fmt.Sprint("large", i), Type: "shop.order.sent", ContentType: "text/plain", Data: make([]byte, 250<<10),
		}))
	}
	close(c.let)
	for _, p := range all {
		require.NoError(t, c.result(p))
	}
	calls, events := c.came()
	require.Len(t, events, 4+small+large)
	require.Less(t, calls, 15)
	for _, together := range c.calls {
		bytes := 0
		for _, e := range together {
			bytes += len(e.Data)
		}
		require.LessOrEqual(t, len(together), 100)
		require.Less(t, bytes, 1<<20+256<<10)
	}
}

// What is sent together is told apart on the wire, too.
func TestApart(t *testing.T) {
	t.Parallel()
	r, got := newRig(t), &published{}
	r.deps.Publish = got.take
	client := corev1.NewEventsClient(r.connect(publisher()))
	good, bad := &corev1.Event{Type: "shop.order.sent", Version: 1}, &corev1.Event{Type: "shop.order.lost", Version: 1}
	_, err := client.Publish(t.Context(), &corev1.PublishRequest{Events: []*corev1.Event{bad, good}})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Empty(t, status.Convert(err).Details())
	require.Empty(t, got.events)
	_, err = client.Publish(t.Context(), &corev1.PublishRequest{Events: []*corev1.Event{bad, good, bad}, Apart: true})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Len(t, got.events, 1)
	failures, ok := status.Convert(err).Details()[0].(*corev1.PublishFailures)
	require.True(t, ok)
	require.Len(t, failures.GetFailures(), 2)
	require.EqualValues(t, 2, failures.GetFailures()[1].GetIndex())
	require.EqualValues(t, codes.PermissionDenied, failures.GetFailures()[1].GetCode())
}
