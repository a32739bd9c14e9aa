package embedded

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/bustest"
)

// onEachB runs a benchmark on each backend.
func onEachB(b *testing.B, run func(b *testing.B, p *place)) {
	for name, place := range places() {
		b.Run(name, func(b *testing.B) {
			p := place(b)
			run(b, p)
		})
	}
}

func rate(b *testing.B, n int) { b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s") }

// BenchmarkPublishBatch publishes 100 events with each call.
func BenchmarkPublishBatch(b *testing.B) {
	onEachB(b, func(b *testing.B, p *place) {
		d := p.declared(subscription)
		batch := events(100)
		for b.Loop() {
			require.Nil(b, d.Publish(b.Context(), batch))
		}
		rate(b, 100*b.N)
	})
}

// BenchmarkPublishConcurrently has 64 callers publish one event at a time.
func BenchmarkPublishConcurrently(b *testing.B) {
	onEachB(b, func(b *testing.B, p *place) {
		d := p.declared(subscription)
		b.ResetTimer()
		var left atomic.Int64
		left.Store(int64(b.N))
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					if err := bustest.PublishOne(b.Context(), d, event(0, "")); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		rate(b, b.N)
	})
}

// BenchmarkEndToEnd has 64 callers publish one event at a time, and a consumer with 16 handlers that do nothing.
func BenchmarkEndToEnd(b *testing.B) {
	for _, ordered := range []bool{false, true} {
		b.Run(map[bool]string{false: "unordered", true: "ordered"}[ordered], func(b *testing.B) {
			onEachB(b, func(b *testing.B, p *place) { endToEnd(b, p, ordered) })
		})
	}
}

func endToEnd(b *testing.B, p *place, ordered bool) {
	s := subscription
	s.Ordered = ordered
	d := p.declared(s)
	var left, handled atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	all.Go(func() {
		err := d.Consume(ctx, s, bus.Consumer{Concurrency: 16, Handle: func(context.Context, bus.Delivery) bus.Verdict {
			if handled.Add(1) == int64(b.N) {
				close(done)
			}
			return bus.Ack()
		}})
		if err != nil {
			b.Error(err)
		}
	})
	b.ResetTimer()
	for i := range 64 {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := bustest.PublishOne(ctx, d, event(0, fmt.Sprint(i))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	<-done
	rate(b, b.N)
	b.StopTimer()
	cancel()
	all.Wait()
}

// BenchmarkLatency is how long one event takes to its handler, on a bus that does nothing else.
func BenchmarkLatency(b *testing.B) {
	onEachB(b, func(b *testing.B, p *place) {
		d := p.declared(subscription)
		in := make(chan struct{})
		ctx, cancel := context.WithCancel(b.Context())
		var consuming sync.WaitGroup
		consuming.Go(func() {
			_ = d.Consume(ctx, subscription, bus.Consumer{Handle: func(context.Context, bus.Delivery) bus.Verdict {
				in <- struct{}{}
				return bus.Ack()
			}})
		})
		for b.Loop() {
			require.NoError(b, bustest.PublishOne(ctx, d, event(0, "")))
			<-in
		}
		cancel()
		consuming.Wait()
	})
}
