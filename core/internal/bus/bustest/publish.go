package bustest

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/problem"
)

func publishing() map[string]func(*place) {
	return map[string]func(*place){
		"each subscription gets what it wants":      fanOut,
		"what nobody wants is an error":             unroutable,
		"what is no event is refused":               invalid,
		"what comes after one of its key, too":      skipped,
		"nothing may be published":                  nothing,
		"every field arrives":                       fields,
		"data may be large and anything":            data,
		"what is acknowledged outlives everybody":   durable,
		"many publish at once":                      manyPublish,
		"what nobody waits for":                     canceled,
		"the same event may be published again":     again,
		"a hundred events in one call are in order": orderOfCall,
	}
}

func fanOut(p *place) {
	patterns := []string{"blog.post.created", "blog.post.*", "blog.*", "blog.posted"}
	b, subscriptions := p.declared(patterns...)
	other := bus.Subscription{Module: "search", Pattern: "blog.post.created"}
	require.NoError(p.T, b.Declare(p.Context(), "search", []bus.Subscription{other}))
	types := []string{"blog.post.created", "blog.post.comment.added", "blog.posted", "blog.tag.made"}
	events := make([]bus.Event, len(types))
	for i, eventType := range types {
		events[i] = event(eventType)
	}
	p.publish(b, events...)
	for _, s := range append(subscriptions, other) {
		var want []string
		for _, e := range events {
			if bus.Matches(s.Pattern, e.Type) {
				want = append(want, e.ID)
			}
		}
		in := p.receive(b, s, nil)
		in.wait(p, len(want))
		p.finished(b, s)
		require.ElementsMatch(p.T, want, in.ids(), s.ID())
		for _, d := range in.all() {
			require.Equal(p.T, s.ID(), d.Subscription)
			require.Equal(p.T, 1, d.Attempt)
		}
	}
}

func unroutable(p *place) {
	b, subscriptions := p.declared("blog.post.created")
	require.ErrorIs(p.T, PublishOne(p.Context(), b, event("blog.post.deleted")), bus.ErrUnroutable)
	require.ErrorIs(p.T, PublishOne(p.Context(), b, event("blog.post.created.twice")), bus.ErrUnroutable)
	errs := b.Publish(p.Context(), some(100, "blog.post.deleted"))
	require.Len(p.T, errs, 100)
	for _, err := range errs {
		require.ErrorIs(p.T, err, bus.ErrUnroutable)
	}
	mixed := some(60, "blog.post.created")
	for i := range mixed {
		if i%3 == 0 {
			mixed[i].Type = "blog.post.deleted"
		}
	}
	errs = b.Publish(p.Context(), mixed)
	require.Len(p.T, errs, len(mixed))
	for i, err := range errs {
		if i%3 == 0 {
			require.ErrorIs(p.T, err, bus.ErrUnroutable)
		} else {
			require.NoError(p.T, err)
		}
	}
	in := p.receive(b, subscriptions[0], nil)
	in.wait(p, 40)
	p.finished(b, subscriptions[0])
	for _, d := range in.all() {
		require.Equal(p.T, "blog.post.created", d.Event.Type)
	}
}

func invalid(p *place) {
	b, subscriptions := p.declared("blog.*")
	for name, spoil := range map[string]func(*bus.Event){
		"no id":           func(e *bus.Event) { e.ID = "" },
		"no source":       func(e *bus.Event) { e.Source = "" },
		"no type":         func(e *bus.Event) { e.Type = "" },
		"type":            func(e *bus.Event) { e.Type = "blog.Post" },
		"pattern as type": func(e *bus.Event) { e.Type = "blog.*" },
		"no version":      func(e *bus.Event) { e.Version = 0 },
		"no time":         func(e *bus.Event) { e.Time = time.Time{} },
		"zero byte":       func(e *bus.Event) { e.Key = "a\x00b" },
		"no UTF-8":        func(e *bus.Event) { e.Subject = "\xff" },
		"long key":        func(e *bus.Event) { e.Key = strings.Repeat("k", 256) },
		"long type":       func(e *bus.Event) { e.Type = "blog." + strings.Repeat("a", 256) },
		"large":           func(e *bus.Event) { e.Data = make([]byte, bus.MaxData+1) },
	} {
		batch := some(3, "blog.post.created")
		spoil(&batch[1])
		errs := b.Publish(p.Context(), batch)
		require.Len(p.T, errs, 3, name)
		require.NoError(p.T, errs[0], name)
		require.NoError(p.T, errs[2], name)
		want := http.StatusBadRequest
		if name == "large" {
			want = http.StatusRequestEntityTooLarge
		}
		answer, public := problem.FromError(errs[1])
		require.True(p.T, public, "%s: %v", name, errs[1])
		require.Equal(p.T, want, answer.Status, name)
		require.Error(p.T, b.Redeliver(p.Context(), subscriptions[0].ID(), batch[1]), name)
	}
	p.holding(b, subscriptions[0], 24)
}

func skipped(p *place) {
	b, subscriptions := p.declared("blog.post.*")
	batch := []bus.Event{
		event("blog.post.made", "a"), event("blog.post.made", "b"), event("blog.post.made", "a"), event("blog.post.made"),
		event("blog.post.made", "a"), event("blog.post.made", "b"), event("blog.post.made"),
	}
	batch[2].Version = 0 // of key a
	batch[3].Version = 0 // of no key: nobody waits for it
	errs := b.Publish(p.Context(), batch)
	require.Len(p.T, errs, len(batch))
	require.Error(p.T, errs[2])
	require.Error(p.T, errs[3])
	require.ErrorIs(p.T, errs[4], bus.ErrSkipped)
	in := p.receive(b, subscriptions[0], nil)
	in.wait(p, 4)
	p.finished(b, subscriptions[0])
	require.ElementsMatch(p.T, []string{batch[0].ID, batch[1].ID, batch[5].ID, batch[6].ID}, in.ids())
	for _, i := range []int{0, 1, 5, 6} {
		require.NoError(p.T, errs[i], i)
	}
	// What was skipped was not taken either.
	wanted, unwanted := event("blog.post.made", "c"), event("shop.sold", "c")
	errs = b.Publish(p.Context(), []bus.Event{unwanted, wanted, wanted})
	require.Len(p.T, errs, 3)
	require.ErrorIs(p.T, errs[0], bus.ErrUnroutable)
	require.ErrorIs(p.T, errs[1], bus.ErrSkipped)
	require.ErrorIs(p.T, errs[2], bus.ErrSkipped)
	p.publish(b, wanted)
	in.wait(p, 5)
}

func nothing(p *place) {
	b, _ := p.declared("blog.*")
	require.Nil(p.T, b.Publish(p.Context(), nil))
}

func fields(p *place) {
	b, subscriptions := p.declared("blog.*")
	all := bus.Event{
		ID: "an id: ünïque'\"\\%_", Source: "/modules/blog", Type: "blog.post_2.created_at", Version: 1 << 20,
		Subject: "пост/日本語/🙂", Key: "ключ 🔑 %_'\"", Time: time.Date(2026, 5, 1, 12, 30, 0, 123456789, time.UTC),
		ContentType: "text/plain; charset=utf-8", Data: []byte("grüße"),
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	bare := bus.Event{ID: strings.Repeat("i", 255), Source: strings.Repeat("s", 255), Type: "blog.made", Version: 1, Time: all.Time}
	elsewhere := all
	elsewhere.ID, elsewhere.Time = "3", all.Time.In(time.FixedZone("east", 2*60*60))
	p.publish(b, all)
	p.publish(b, bare)
	p.publish(b, elsewhere)
	got := map[string]bus.Event{}
	for _, d := range p.receive(b, subscriptions[0], nil).wait(p, 3) {
		got[d.Event.ID] = d.Event
	}
	require.Equal(p.T, all, got[all.ID])
	elsewhere.Time = all.Time
	require.Equal(p.T, elsewhere, got["3"])
	short := got[bare.ID]
	require.Contains(p.T, []string{"", "application/json"}, short.ContentType)
	require.Empty(p.T, short.Data)
	short.ContentType, short.Data = "", nil
	require.Equal(p.T, bare, short)
}

func data(p *place) {
	b, subscriptions := p.declared("blog.*")
	events := some(12, "blog.uploaded")
	for i := range events {
		events[i].ContentType = "application/octet-stream"
		events[i].Data = make([]byte, bus.MaxData)
		_, _ = rand.Read(events[i].Data)
	}
	events[1].Data = events[1].Data[:0]
	events[2].Data = []byte{0}
	events[3].Data = make([]byte, 256)
	for i := range events[3].Data {
		events[3].Data[i] = byte(i)
	}
	p.publish(b, events...)
	want := map[string][]byte{}
	for _, e := range events {
		want[e.ID] = e.Data
	}
	for _, d := range p.receive(b, subscriptions[0], nil).wait(p, len(events)) {
		if !bytes.Equal(want[d.Event.ID], d.Event.Data) { // they are large to show
			p.Errorf("the data of event %s is another", d.Event.Subject)
		}
	}
}

func durable(p *place) {
	a, subscriptions := p.declared("blog.*")
	closed, killed := some(20, "blog.made"), some(20, "blog.made")
	p.publish(a, closed...)
	require.NoError(p.T, a.Close())
	b := p.daemon()
	for i := range killed {
		p.publish(b, killed[i])
	}
	p.kill(b)
	in := p.receive(p.daemon(), subscriptions[0], nil)
	in.wait(p, 40)
	require.ElementsMatch(p.T, append(ids(closed), ids(killed)...), in.ids())
}

func manyPublish(p *place) {
	b, subscriptions := p.declared("blog.*")
	other := p.daemon()
	var all sync.WaitGroup
	sent := newBox[string]()
	for i := range 16 {
		via := []bus.Bus{b, other}[i%2]
		all.Go(func() {
			for _, e := range some(10, "blog.made") {
				if err := PublishOne(p.Context(), via, e); err != nil {
					p.Error(err)
				}
				sent.put(e.ID)
			}
		})
	}
	in := p.receive(other, subscriptions[0], nil)
	all.Wait()
	in.wait(p, 160)
	p.finished(b, subscriptions[0])
	require.ElementsMatch(p.T, sent.all(), in.ids())
}

func canceled(p *place) {
	b, subscriptions := p.declared("blog.*")
	ctx, cancel := context.WithCancel(p.Context())
	cancel()
	errs := b.Publish(ctx, some(2, "blog.made"))
	require.Len(p.T, errs, 2)
	for _, err := range errs {
		require.ErrorIs(p.T, err, context.Canceled)
	}
	require.ErrorIs(p.T, b.Redeliver(ctx, subscriptions[0].ID(), event("blog.made")), context.Canceled)
	require.ErrorIs(p.T, b.Declare(ctx, "notify", nil), context.Canceled)
	_, err := b.Pending(ctx)
	require.ErrorIs(p.T, err, context.Canceled)
	require.Contains(p.T, p.pending(b), subscriptions[0].ID())
	require.NoError(p.T, b.Consume(ctx, subscriptions[0], bus.Consumer{}))
	require.NoError(p.T, b.DeadLetters(ctx, nil))
	require.NoError(p.T, b.Tail(ctx, "", nil))
}

func again(p *place) {
	b, subscriptions := p.declared("blog.*")
	e := event("blog.made")
	other := e
	other.Data = []byte(`{"title":"B"}`)
	in := p.receive(b, subscriptions[0], nil)
	for range 2 {
		p.publish(b, e)
		p.publish(b, other)
		p.publish(b, e, other)
	}
	p.finished(b, subscriptions[0])
	in.wait(p, 1)
	for _, id := range in.ids() {
		require.Equal(p.T, e.ID, id)
	}
}

func orderOfCall(p *place) {
	b, s := p.ordered()
	events := some(100, "blog.post.made", "one")
	p.publish(b, events...)
	in := newBox[string]()
	p.consume(b, s, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		in.put(d.Event.ID)
		return bus.Ack()
	}})
	require.Equal(p.T, ids(events), in.wait(p, 100))
}
