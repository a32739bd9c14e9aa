package amqp_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/bustest"
)

// inFlight is how many events are on their way at once, in both.
const inFlight = 256

// BenchmarkPublish compares the bus with amqp091 alone, which publishes the same messages to the same queue, with confirms and as
// many on their way: rounds of the one and of the other in turn. It reports the medians, and their ratio.
func BenchmarkPublish(b *testing.B) {
	place := newPlace(b)
	over := place.open(func(o *amqp.Options) { o.InFlight = inFlight })
	s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
	require.NoError(b, over.Declare(b.Context(), "notify", []bus.Subscription{s}))
	queue := place.prefix + ".sub.notify.blog.#"
	ch := place.raw()
	require.NoError(b, bustest.PublishOne(b.Context(), over, event("blog.made")))
	sample, ok, err := ch.Get(queue, true)
	require.NoError(b, err)
	require.True(b, ok)
	require.NoError(b, ch.Confirm(false))
	var with, without []float64
	for b.Loop() {
		const n = 4096
		with = append(with, perSecond(n, func() { publish(b, over, n) }))
		without = append(without, perSecond(n, func() { publishRaw(b, ch, &sample, n) }))
		_, err := ch.QueuePurge(queue, false)
		require.NoError(b, err)
	}
	b.ReportMetric(median(with), "events/s")
	b.ReportMetric(median(without), "raw/s")
	b.ReportMetric(median(with)/median(without), "ratio")
}

func perSecond(n int, do func()) float64 {
	began := time.Now()
	do()
	return float64(n) / time.Since(began).Seconds()
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// publish publishes n events, in calls of 64, as a relay does.
func publish(b *testing.B, over bus.Bus, n int) {
	const batch = 64
	var all sync.WaitGroup
	for range inFlight / batch {
		all.Go(func() {
			events := make([]bus.Event, batch)
			for range n / inFlight {
				for i := range events {
					events[i] = event("blog.made")
				}
				if errs := over.Publish(b.Context(), events); errs != nil {
					b.Error(errs)
				}
			}
		})
	}
	all.Wait()
}

func publishRaw(b *testing.B, ch *amqp091.Channel, m *amqp091.Delivery, n int) {
	var window []*amqp091.DeferredConfirmation
	for range n {
		if len(window) == inFlight {
			require.True(b, window[0].Wait())
			window = window[1:]
		}
		confirmation, err := ch.PublishWithDeferredConfirm(m.Exchange, m.RoutingKey, true, false, amqp091.Publishing{
			Headers: m.Headers, ContentType: m.ContentType, DeliveryMode: amqp091.Persistent, MessageId: m.MessageId, Body: m.Body,
		})
		require.NoError(b, err)
		window = append(window, confirmation)
	}
	for _, confirmation := range window {
		require.True(b, confirmation.Wait())
	}
}
