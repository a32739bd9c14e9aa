package bustest

import (
	"context"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func ending() map[string]func(*place) {
	return map[string]func(*place){
		"a closed bus does nothing":          closed,
		"close ends what is under way":       closes,
		"close waits for what has begun":     closeWaits,
		"what a closed daemon had is free":   closeGivesBack,
		"publishing while the bus is closed": publishWhileClosing,
	}
}

func closed(p *place) {
	b, subscriptions := p.declared("blog.*")
	require.NoError(p.T, b.Close())
	p.ends("the second Close", func() { _ = b.Close() })
	errs := b.Publish(p.Context(), some(3, "blog.made"))
	require.Len(p.T, errs, 3)
	for _, err := range errs {
		require.ErrorIs(p.T, err, bus.ErrClosed)
	}
	require.ErrorIs(p.T, b.Declare(p.Context(), "notify", subscriptions), bus.ErrClosed)
	require.ErrorIs(p.T, b.Redeliver(p.Context(), subscriptions[0].ID(), event("blog.made")), bus.ErrClosed)
	_, err := b.Pending(p.Context())
	require.ErrorIs(p.T, err, bus.ErrClosed)
	p.ends("calls of a closed bus", func() {
		err := errors.Join(onlyClosed(b.Consume(p.Context(), subscriptions[0], bus.Consumer{})),
			onlyClosed(b.DeadLetters(p.Context(), nil)), onlyClosed(b.Tail(p.Context(), "", nil)))
		if err != nil {
			p.Error(err)
		}
	})
}

// onlyClosed is an error unless err is ErrClosed.
func onlyClosed(err error) error {
	if errors.Is(err, bus.ErrClosed) {
		return nil
	}
	return errors.Join(errors.New("it did not say that the bus is closed"), err)
}

func closes(p *place) {
	b, subscriptions := p.declared("blog.*")
	in := p.receive(b, subscriptions[0], nil)
	letters := p.deadLetters(b, func(context.Context, bus.DeadLetter) error { return nil })
	tail := p.call(func(ctx context.Context) error { return b.Tail(ctx, "", func(bus.Event) {}) })
	p.publish(b, event("blog.made"))
	in.wait(p, 1)
	require.NoError(p.T, b.Close())
	for _, c := range []*call{in.call, letters, tail} {
		p.within("a call of a closed bus", c.done)
		require.ErrorIs(p.T, c.err, bus.ErrClosed)
	}
}

func closeWaits(p *place) {
	b, subscriptions := p.declared("blog.*")
	p.publish(b, some(4, "blog.made")...)
	g := p.gate()
	p.behind(g, b, subscriptions[0], 2)
	g.entered.wait(p, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Close()
	}()
	p.eventually("the bus is closing", func() bool {
		return errors.Is(PublishOne(p.Context(), b, event("blog.made")), bus.ErrClosed)
	})
	select {
	case <-done:
		p.Fatal("Close did not wait for what is being handled")
	default:
	}
	g.let()
	p.within("Close", done)
	require.EqualValues(p.T, 0, g.inside.Load())
	require.Len(p.T, g.entered.all(), 2, "nothing is handed out while the bus closes")
}

func closeGivesBack(p *place) {
	a, subscriptions := p.declared("blog.*")
	events := some(50, "blog.made")
	p.publish(a, events...)
	first := p.receive(a, subscriptions[0], nil)
	first.wait(p, 3)
	require.NoError(p.T, a.Close())
	had := map[string]bool{}
	for _, id := range first.ids() {
		had[id] = true
	}
	rest := p.receive(p.daemon(), subscriptions[0], nil)
	rest.wait(p, 50-len(had))
	for _, id := range rest.ids() {
		had[id] = true
	}
	require.Len(p.T, had, 50)
}

func publishWhileClosing(p *place) {
	b, subscriptions := p.declared("blog.*")
	taken := newBox[string]()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				e := event("blog.made")
				switch err := PublishOne(p.Context(), b, e); {
				case err == nil:
					taken.put(e.ID)
				case errors.Is(err, bus.ErrClosed):
					return
				case !errors.Is(err, bus.ErrUnavailable): // it may have been taken
					p.Error(err)
					return
				}
			}
		})
	}
	taken.wait(p, 20)
	require.NoError(p.T, b.Close())
	p.ends("publishing to a closed bus", all.Wait)
	want := taken.all()
	in := p.receive(p.daemon(), subscriptions[0], nil)
	in.wait(p, len(want))
	p.eventually("all that was acknowledged came", func() bool {
		got := map[string]bool{}
		for _, id := range in.ids() {
			got[id] = true
		}
		for _, id := range want {
			if !got[id] {
				return false
			}
		}
		return true
	})
}
