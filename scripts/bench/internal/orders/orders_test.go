package orders

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
)

func TestAnOrderIsCarriedOut(t *testing.T) {
	t.Parallel()
	want := Order{Kind: "some", Callers: 3, Duration: time.Second}
	began, release := make(chan struct{}, 2), make(chan struct{})
	desk := New(func(ctx context.Context, o Order) (latency.Sample, error) {
		began <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
			return latency.Sample{}, ctx.Err() // no request may end it
		}
		if o != want {
			return latency.Sample{}, errors.New("it is another one")
		}
		return latency.Sample{Requests: 7}, nil
	})
	server := httptest.NewServer(desk)
	defer server.Close()
	result := make(chan latency.Sample, 1)
	failed := make(chan error, 1)
	go func() {
		sample, err := Give(t.Context(), server.URL, want)
		failed <- err
		result <- sample
	}()
	<-began
	_, err := Give(t.Context(), server.URL, want)
	require.ErrorContains(t, err, "answered 400: another order runs", "one at a time")
	close(release)
	require.NoError(t, <-failed)
	require.Equal(t, 7, (<-result).Requests)

	again, err := Give(t.Context(), server.URL, want)
	require.NoError(t, err)
	require.Equal(t, 7, again.Requests)
}

func TestWhatGoesWrongIsTold(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(New(func(context.Context, Order) (latency.Sample, error) {
		return latency.Sample{}, errors.New("no time")
	}))
	defer server.Close()
	for range 2 { // the desk is free again
		_, err := Give(t.Context(), server.URL, Order{})
		require.ErrorContains(t, err, "no time")
	}
	for method, want := range map[string]string{http.MethodGet: "no order runs", http.MethodPost: "read the order"} {
		status, answer, err := ask(t.Context(), method, server.URL, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, string(answer), want)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	var busy, most atomic.Int64
	o := Order{Callers: 3, Duration: 100 * time.Millisecond}
	sample := o.Measure(t.Context(), func(context.Context) error {
		if now := busy.Add(1); now > most.Load() {
			most.Store(now)
		}
		defer busy.Add(-1)
		<-time.After(4 * time.Millisecond)
		return nil
	})
	require.EqualValues(t, 3, most.Load())
	require.Positive(t, sample.Requests)
	require.LessOrEqual(t, sample.Requests, 75)
	require.GreaterOrEqual(t, sample.P50, 4*time.Millisecond)
	require.Equal(t, o.Duration, sample.Elapsed)

	sample = o.Measure(t.Context(), func(context.Context) error { <-time.After(o.Duration); return nil })
	require.Zero(t, sample.Requests, "what ends late does not count")
	require.Zero(t, sample.Errors)
}
