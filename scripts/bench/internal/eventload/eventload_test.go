package eventload

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/orders"
)

// order gives an order and waits for its result.
func order(t *testing.T, l *Load, o orders.Order) latency.Sample {
	t.Helper()
	server := httptest.NewServer(l)
	defer server.Close()
	sample, err := orders.Give(t.Context(), server.URL, o)
	require.NoError(t, err)
	return sample
}

// newBus is a load of a queue in memory.
func newBus(t *testing.T) (l *Load, queue chan string) {
	t.Helper()
	queue = make(chan string, 1<<20)
	l = New(func(_ context.Context, id string, data []byte) error {
		var said struct{ ID string }
		if err := json.Unmarshal(data, &said); err != nil || said.ID != id || len(data) != Size {
			return errors.New("it does not say what it should")
		}
		<-time.After(time.Millisecond)
		queue <- id
		return nil
	})
	return l, queue
}

func consume(t *testing.T, l *Load, queue <-chan string, after time.Duration) {
	t.Helper()
	for range 2 {
		go func() {
			for {
				select {
				case id := <-queue:
					<-time.After(after)
					_ = l.Handle(t.Context(), id) // it ends with the test
				case <-t.Context().Done():
					return
				}
			}
		}()
	}
}

func TestPublishedIsHandledLater(t *testing.T) {
	t.Parallel()
	l, queue := newBus(t)
	consume(t, l, queue, 0)
	sample := order(t, l, orders.Order{Kind: Publish, Callers: 4, Duration: 50 * time.Millisecond})
	require.Zero(t, sample.Errors, sample.Problem)
	require.Positive(t, sample.Requests)
	require.GreaterOrEqual(t, sample.P50, time.Millisecond)
	require.Less(t, sample.P50, 20*time.Millisecond)
	require.Zero(t, l.handled.Load(), "it waits")
	order(t, l, orders.Order{Kind: Settle})
	require.Equal(t, l.published.Load(), l.handled.Load())
	require.GreaterOrEqual(t, l.handled.Load(), int64(sample.Requests))
}

func TestDeliveredIsHandled(t *testing.T) {
	t.Parallel()
	l, queue := newBus(t)
	consume(t, l, queue, 10*time.Millisecond)
	sample := order(t, l, orders.Order{Kind: Deliver, Callers: 2, Duration: 500 * time.Millisecond})
	require.Zero(t, sample.Errors, sample.Problem)
	require.GreaterOrEqual(t, sample.P50, 10*time.Millisecond, "with its handling")
	require.LessOrEqual(t, sample.Requests, 100)
	require.Positive(t, sample.Requests)
}

func TestFailuresAreCounted(t *testing.T) {
	t.Parallel()
	l := New(func(context.Context, string, []byte) error { <-time.After(time.Millisecond); return errors.New("no") })
	sample := order(t, l, orders.Order{Kind: Deliver, Callers: 1, Duration: 20 * time.Millisecond})
	require.Zero(t, sample.Requests)
	require.Positive(t, sample.Errors)
	require.Equal(t, "no", sample.Problem)
}
