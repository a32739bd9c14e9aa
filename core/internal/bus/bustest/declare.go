package bustest

import (
	"errors"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func declaring() map[string]func(*place) {
	return map[string]func(*place){
		"declaring again changes nothing":     idempotent,
		"a module has what it declared last":  exactly,
		"daemons declare at the same moment":  together,
		"what one declares others publish to": publishedTo,
		"a pattern must be one":               badPattern,
		"pending counts what is not finished": counts,
	}
}

func idempotent(p *place) {
	b, subscriptions := p.declared("blog.*", "blog.made")
	p.publish(b, event("blog.made"))
	p.declare(b, subscriptions...)
	p.declare(p.daemon(), subscriptions[1], subscriptions[0])
	for _, s := range subscriptions {
		p.holding(b, s, 1)
		p.receive(b, s, nil).wait(p, 1)
	}
}

func exactly(p *place) {
	b, subscriptions := p.declared("blog.*", "blog.made")
	other := bus.Subscription{Module: "search", Pattern: "blog.made"}
	require.NoError(p.T, b.Declare(p.Context(), "search", []bus.Subscription{other}))
	p.publish(b, event("blog.made"))
	added := bus.Subscription{Module: "notify", Pattern: "shop.*"}
	p.declare(b, subscriptions[0], added)
	pending := p.pending(b)
	require.Len(p.T, pending, 3)
	for _, s := range []bus.Subscription{subscriptions[0], added, other} {
		require.Contains(p.T, pending, s.ID())
	}
	p.publish(b, event("shop.sold"))
	p.receive(b, added, nil).wait(p, 1)
	p.declare(b)
	require.Len(p.T, p.pending(b), 1)
	require.NoError(p.T, PublishOne(p.Context(), b, event("blog.made")), "search still wants it")
	require.ErrorIs(p.T, PublishOne(p.Context(), b, event("shop.sold")), bus.ErrUnroutable)
	p.declare(b, subscriptions...)
	require.EqualValues(p.T, 0, p.total(b, subscriptions[1]), "its deliveries went with it")
	p.holding(b, other, 2)
	p.receive(b, other, nil).wait(p, 2)
	last := event("blog.made")
	p.publish(b, last)
	require.Equal(p.T, last, p.receive(b, subscriptions[1], nil).wait(p, 1)[0].Event)
}

func together(p *place) {
	var all sync.WaitGroup
	subscriptions := []bus.Subscription{
		{Module: "notify", Pattern: "blog.*"}, {Module: "notify", Pattern: "blog.made", Ordered: true},
	}
	errs := make([]error, 4)
	for i := range errs {
		b := p.daemon()
		all.Go(func() {
			errs[i] = errors.Join(b.Declare(p.Context(), "notify", subscriptions), PublishOne(p.Context(), b, event("blog.made")))
		})
	}
	all.Wait()
	require.NoError(p.T, errors.Join(errs...))
	b := p.daemon()
	for _, s := range subscriptions {
		p.holding(b, s, 4)
	}
}

func publishedTo(p *place) {
	a, b := p.daemon(), p.daemon()
	s := bus.Subscription{Module: "notify", Pattern: "blog.*"}
	for range 5 {
		require.ErrorIs(p.T, PublishOne(p.Context(), a, event("blog.made")), bus.ErrUnroutable)
		p.declare(b, s)
		require.NoError(p.T, PublishOne(p.Context(), a, event("blog.made")))
		p.declare(b)
	}
}

func badPattern(p *place) {
	b, subscriptions := p.declared("blog.*")
	for _, pattern := range []string{"", "*", "blog", "blog*", "Blog.*", "blog.*.made", "blog.#", "a.b'"} {
		err := b.Declare(p.Context(), "notify", []bus.Subscription{{Module: "notify", Pattern: pattern}})
		require.ErrorContains(p.T, err, "fix: ", pattern)
	}
	require.Contains(p.T, p.pending(b), subscriptions[0].ID(), "what is refused changes nothing")
}

func counts(p *place) {
	b, subscriptions := p.declared("blog.*", "shop.*")
	id := subscriptions[0].ID()
	began := time.Now()
	require.Equal(p.T, bus.Backlog{}, p.pending(b)[id])
	p.publish(b, some(5, "blog.made")...)
	other := p.daemon()
	p.eventually("five are ready", func() bool { return p.pending(other)[id].Ready == 5 })
	if backlog := p.pending(other)[id]; !backlog.Oldest.IsZero() {
		require.WithinRange(p.T, backlog.Oldest, began.Add(-time.Minute), time.Now().Add(time.Minute))
	}
	in := p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		if d.Event.Subject == "1" {
			return bus.Retry(time.Hour, because("not yet"))
		}
		return bus.Ack()
	})
	in.wait(p, 5)
	p.eventually("one waits", func() bool {
		now := p.pending(b)[id]
		return now.Ready == 0 && now.Waiting == 1 && now.InFlight == 0
	})
	g := p.gate()
	p.behind(g, b, subscriptions[1], 1)
	p.publish(b, event("shop.sold"))
	g.entered.wait(p, 1)
	p.eventually("one is in flight", func() bool {
		now := p.pending(b)[subscriptions[1].ID()]
		return now.Ready == 0 && now.Waiting == 0 && now.InFlight == 1
	})
}
