package bustest

import (
	"context"
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func forgetting() map[string]func(*place) {
	return map[string]func(*place){
		"a forgotten module leaves nothing": forgets,
		"peeking takes nothing":             peeks,
	}
}

// forgets has a module that has subscribed to something else before, with deliveries of every kind, and dead letters.
func forgets(p *place) {
	b, subscriptions := p.declared("blog.*", "blog.made", "shop.*")
	other := bus.Subscription{Module: "search", Pattern: "blog.*"}
	require.NoError(p.T, b.Declare(p.Context(), "search", []bus.Subscription{other}))
	dies := func(d bus.Delivery) bus.Verdict {
		if d.Event.Subject == "0" {
			return bus.Dead(because("no use"))
		}
		return bus.Retry(time.Hour, because("later"))
	}
	consuming := []*inbox{p.receive(b, subscriptions[0], dies), p.receive(b, other, dies)}
	p.publish(b, some(3, "blog.made")...)
	p.eventually("they have been handled", func() bool {
		pending := p.pending(b)
		return pending[subscriptions[0].ID()].Waiting == 2 && pending[other.ID()].Waiting == 2
	})
	for _, in := range consuming {
		require.NoError(p.T, p.stop(in.call))
	}
	p.declare(b, subscriptions[0]) // a later version wants less
	daemon := p.daemon()
	for range 2 {
		require.NoError(p.T, daemon.Forget(p.Context(), "notify"))
	}
	require.NoError(p.T, daemon.Forget(p.Context(), "absent"))
	pending := p.pending(b)
	require.Len(p.T, pending, 1)
	require.EqualValues(p.T, 2, pending[other.ID()].Waiting)

	letters := newBox[bus.DeadLetter]()
	p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error { letters.put(l); return nil })
	p.receive(b, other, dies)
	p.publish(b, some(1, "blog.made")...) // its letter comes last
	for _, l := range letters.wait(p, 2) {
		require.Equal(p.T, other.ID(), l.Subscription)
	}
	p.declare(b, subscriptions...)
	require.EqualValues(p.T, 0, p.total(b, subscriptions[0]), "it begins anew")
	require.NoError(p.T, b.Peek(p.Context(), "notify", func(string, bus.Event) error { return errors.New("there is something") }))
}

func peeks(p *place) {
	b, plain := p.declared("blog.*")
	ordered := bus.Subscription{Module: "notify", Pattern: "shop.*", Ordered: true}
	other := bus.Subscription{Module: "search", Pattern: "blog.*"}
	p.declare(b, plain[0], ordered)
	require.NoError(p.T, b.Declare(p.Context(), "search", []bus.Subscription{other}))
	const many = 30
	want := map[string][]string{}
	for s, eventType := range map[bus.Subscription]string{plain[0]: "blog.made", ordered: "shop.sold"} {
		events := some(many, eventType, "key")
		p.publish(b, events...)
		want[s.ID()] = ids(events)
	}
	for range 2 {
		for _, s := range []bus.Subscription{plain[0], ordered} {
			p.holding(b, s, many)
		}
		got := map[string][]string{}
		require.NoError(p.T, b.Peek(p.Context(), "notify", func(s string, e bus.Event) error {
			got[s] = append(got[s], e.ID)
			return nil
		}))
		require.Equal(p.T, want, got)
	}
	stop := errors.New("that is enough")
	require.ErrorIs(p.T, b.Peek(p.Context(), "notify", func(string, bus.Event) error { return stop }), stop)
	for _, s := range []bus.Subscription{plain[0], ordered} {
		p.holding(b, s, many)
		in := p.receive(b, s, nil)
		in.wait(p, many)
		require.Equal(p.T, want[s.ID()], in.ids())
	}
}
