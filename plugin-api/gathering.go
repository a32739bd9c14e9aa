package pluginapi

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/event"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

const (
	// atOnce is how many calls that publish one event are with the core at a time. Those that come meanwhile go together.
	atOnce = 4
	// Of one call of the core: how many events, and of how much data beyond the first.
	gatherEvents = 100
	gatherBytes  = 1 << 20
	// gatherWait bounds a call that belongs to several, whose own contexts do not count for it.
	gatherWait = 30 * time.Second
)

// gathering sends events together that are published at the same time: a call costs much more than an event in it. Its zero value
// is ready.
type gathering struct {
	mu      sync.Mutex
	calling int
	waiting []*gathered
}

// gathered is an event that waits until it is sent.
type gathered struct {
	ctx   context.Context //nolint:containedctx // the caller's, who waits
	event *corev1.Event
	done  chan error // holds one
}

// publish sends an event by a call of its own, or waits until it has been sent with others.
func (g *gathering) publish(ctx context.Context, to *publications, one *corev1.Event) error {
	g.mu.Lock()
	if g.calling < atOnce {
		g.calling++
		g.mu.Unlock()
		defer g.next(to) //nolint:contextcheck // what waited is other callers'
		return send(ctx, to, one)
	}
	w := &gathered{ctx: ctx, event: one, done: make(chan error, 1)}
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return contextError(ctx)
	}
}

// send publishes one event.
func send(ctx context.Context, to *publications, one *corev1.Event) error {
	err := to.publish(ctx, &corev1.PublishRequest{Events: []*corev1.Event{one}})
	if each := failuresOf(err, 1); each != nil {
		return each[0]
	}
	return err
}

// next goes on with those that waited, when a call is over.
func (g *gathering) next(to *publications) {
	g.mu.Lock()
	defer g.mu.Unlock()
	batch := g.take()
	if len(batch) == 0 {
		g.calling--
		return
	}
	go func() { // ends with the call, which has a deadline
		defer g.next(to)
		ctx, cancel := context.WithTimeout(context.Background(), gatherWait)
		defer cancel()
		sendAll(ctx, to, batch)
	}()
}

// take takes what is sent together. Two of one key are not: the core would keep them in an order, and not try the one after the
// other has failed.
func (g *gathering) take() (batch []*gathered) {
	var later []*gathered
	keys, bytes := map[string]bool{}, 0
	for i, w := range g.waiting {
		key, size := w.event.GetKey(), len(w.event.GetData())
		switch {
		case w.ctx.Err() != nil: // nobody waits any more, and it was not sent
			continue
		case len(batch) == gatherEvents, len(batch) > 0 && bytes+size > gatherBytes:
			g.waiting = append(later, g.waiting[i:]...)
			return batch
		case key != "" && keys[key]:
			later = append(later, w)
			continue
		}
		keys[key] = true
		bytes += size
		batch = append(batch, w)
	}
	g.waiting = later
	return batch
}

// sendAll publishes events of several callers, and tells each what became of its own.
func sendAll(ctx context.Context, to *publications, batch []*gathered) {
	if len(batch) == 1 {
		batch[0].done <- send(batch[0].ctx, to, batch[0].event) //nolint:contextcheck // it is the only caller's
		return
	}
	req := &corev1.PublishRequest{Events: make([]*corev1.Event, len(batch)), Apart: true}
	for i, w := range batch {
		if w.event.GetTraceparent() == "" { // the core would put all into one trace
			w.event.Traceparent = event.NewTraceParent()
		}
		req.Events[i] = w.event
	}
	err := to.publish(ctx, req)
	each := failuresOf(err, len(batch))
	for i, w := range batch {
		if each != nil {
			w.done <- each[i]
		} else {
			w.done <- err
		}
	}
}

// contextError is the error of a call whose context has ended, as gRPC words it.
func contextError(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() }
