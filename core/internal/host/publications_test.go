package host_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
	pluginapi "github.com/platformd/platformd/plugin-api"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// watched is a connection that remembers the streams that were begun on it.
type watched struct {
	grpc.ClientConnInterface

	mu      sync.Mutex
	streams []context.Context // whose end is that of the stream
}

// NewStream implements grpc.ClientConnInterface.
func (w *watched) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (
	grpc.ClientStream, error,
) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.streams = append(w.streams, ctx)
	return w.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

// count tells how many streams there have been, and how many of them go on.
func (w *watched) count() (all, open int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ctx := range w.streams {
		if ctx.Err() == nil {
			open++
		}
	}
	return len(w.streams), open
}

// publishing is shop's events, which take, and the streams that they go over.
func (r *rig) publishing(take func(context.Context, []bus.Event) []error) (*pluginapi.Events, *watched) {
	r.deps.Publish = take
	w := &watched{ClientConnInterface: r.connect(publisher())}
	return pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, w).Events, w
}

func sent() pluginapi.Event { return pluginapi.Event{Type: "shop.order.sent", Version: 1} }

// Publications go over streams that last, which also a refused one leaves as it was.
func TestAStreamServesManyPublications(t *testing.T) {
	t.Parallel()
	let := make(chan struct{}, 100)
	events, streams := newRig(t).publishing(func(ctx context.Context, _ []bus.Event) []error {
		select {
		case <-let:
		case <-ctx.Done():
		}
		return nil
	})
	for range 10 {
		let <- struct{}{}
		require.NoError(t, events.Publish(t.Context(), sent()))
		undeclared := events.PublishAll(t.Context(), pluginapi.Event{Type: "shop.x", Version: 1})
		require.Equal(t, codes.PermissionDenied, status.Code(undeclared))
	}
	all, _ := streams.count()
	require.Equal(t, 1, all)

	const many = 20
	var publishing sync.WaitGroup
	for range many {
		publishing.Go(func() {
			if err := events.PublishAll(t.Context(), sent(), sent()); err != nil {
				t.Error(err)
			}
		})
	}
	require.Eventually(t, func() bool { all, _ := streams.count(); return all == many }, 10*time.Second, time.Millisecond)
	for range many {
		let <- struct{}{}
	}
	publishing.Wait()
	_, open := streams.count()
	require.Equal(t, 4, open, "what nobody needs any more is closed")
}

// Who gives up hears at once, and so does the core; the next publication goes over another stream.
func TestGivingUpAPublication(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	first := true
	events, streams := newRig(t).publishing(func(ctx context.Context, _ []bus.Event) []error {
		if !first {
			return nil
		}
		first = false
		close(began)
		<-ctx.Done()
		close(ended)
		return []error{ctx.Err()}
	})
	ctx, giveUp := context.WithCancel(t.Context())
	go func() { <-began; giveUp() }()
	require.Equal(t, codes.Canceled, status.Code(events.Publish(ctx, sent())))
	<-ended
	require.Equal(t, codes.Canceled, status.Code(events.Publish(ctx, sent())), "it is not begun")
	require.NoError(t, events.Publish(t.Context(), sent()))
	all, open := streams.count()
	require.Equal(t, 2, all)
	require.Equal(t, 1, open)
}

// A publication that fails in the core's own code is the end of its stream, and of nothing else.
func TestTheEndOfAStream(t *testing.T) {
	t.Parallel()
	panics := true
	events, _ := newRig(t).publishing(func(context.Context, []bus.Event) []error {
		if panics {
			panics = false
			panic("a mistake")
		}
		return nil
	})
	require.Equal(t, codes.Internal, status.Code(events.Publish(t.Context(), sent())))
	require.NoError(t, events.Publish(t.Context(), sent()))

	nobody := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, nil).Events
	require.ErrorIs(t, nobody.Publish(t.Context(), sent()), pluginapi.ErrEventsAway)
}

// TestPublishStream is what is not the SDK: an answer for each request, in their order, until it hangs up.
func TestPublishStream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.deps.Publish = func(_ context.Context, events []bus.Event) []error {
		return []error{nil, bus.ErrUnroutable}[:len(events)]
	}
	stream, err := corev1.NewEventsClient(r.connect(publisher())).PublishStream(t.Context())
	require.NoError(t, err)
	good := &corev1.Event{Type: "shop.order.sent", Version: 1}
	for _, request := range []*corev1.PublishStreamRequest{
		{Publish: &corev1.PublishRequest{Events: []*corev1.Event{good}}},
		{Publish: &corev1.PublishRequest{Events: []*corev1.Event{good, good}}},
		{},
	} {
		require.NoError(t, stream.Send(request))
	}
	require.NoError(t, stream.CloseSend())
	answer, err := stream.Recv()
	require.NoError(t, err)
	require.Zero(t, answer.GetCode())
	answer, err = stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, codes.FailedPrecondition, answer.GetCode())
	require.Len(t, answer.GetFailures().GetFailures(), 1)
	require.EqualValues(t, 1, answer.GetFailures().GetFailures()[0].GetIndex())
	answer, err = stream.Recv()
	require.NoError(t, err)
	require.Zero(t, answer.GetCode(), "nothing is published")
	_, err = stream.Recv()
	require.ErrorContains(t, err, "EOF")
}
