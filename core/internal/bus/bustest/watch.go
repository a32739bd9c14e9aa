package bustest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func watching() map[string]func(*place) {
	return map[string]func(*place){
		"tail shows what is published":      tail,
		"tail shows what its pattern wants": tailPattern,
		"tail shows what others publish":    tailElsewhere,
	}
}

// tailing starts a tail, and publishes until it shows something: a tail has no moment from which on it is there.
func (p *place) tailing(at, from bus.Bus, pattern, eventType string) *box[bus.Event] {
	p.Helper()
	seen := newBox[bus.Event]()
	p.call(func(ctx context.Context) error { return at.Tail(ctx, pattern, seen.put) })
	p.eventually("the tail shows something", func() bool {
		p.publish(from, event(eventType))
		return len(seen.all()) > 0
	})
	return seen
}

// shown waits until an event was seen, and returns it.
func (p *place) shown(seen *box[bus.Event], id string) (found bus.Event) {
	p.Helper()
	p.eventually("the tail shows the event", func() bool {
		for _, e := range seen.all() {
			if e.ID == id {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func tail(p *place) {
	b, subscriptions := p.declared("blog.*", "blog.made")
	before := event("blog.made")
	p.publish(b, before)
	in := p.receive(b, subscriptions[0], nil)
	seen := p.tailing(b, b, "", "blog.made")
	big := event("blog.written", "key")
	big.Data, big.Subject = make([]byte, bus.MaxData), "ü"
	p.publish(b, big)
	require.Equal(p.T, big, p.shown(seen, big.ID))
	p.eventually("the consumer gets them all the same", func() bool {
		got := in.ids()
		return len(got) > 0 && got[len(got)-1] == big.ID
	})
	count := map[string]int{}
	for _, e := range seen.all() {
		count[e.ID]++
		require.Equal(p.T, 1, count[e.ID], "once, however many subscriptions there are")
	}
	require.NotContains(p.T, count, before.ID)
}

func tailPattern(p *place) {
	b, _ := p.declared("blog.*")
	seen := p.tailing(b, b, "blog.post.*", "blog.post.made")
	for _, eventType := range []string{"blog.made", "blog.posted", "blog.post.comment.made"} {
		p.publish(b, event(eventType))
	}
	last := event("blog.post.gone")
	p.publish(b, last)
	p.shown(seen, last.ID)
	for _, e := range seen.all() {
		require.True(p.T, bus.Matches("blog.post.*", e.Type), e.Type)
	}
}

func tailElsewhere(p *place) {
	a, _ := p.declared("blog.*")
	seen := p.tailing(p.daemon(), a, "blog.*", "blog.made")
	big := event("blog.written")
	big.Data = make([]byte, bus.MaxData)
	p.publish(a, big)
	require.Equal(p.T, big, p.shown(seen, big.ID))
}
