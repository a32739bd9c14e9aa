package bustest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func ordering() map[string]func(*place) {
	return map[string]func(*place){
		"what is tried again holds its key":       holds,
		"events of a key are handled one by one":  oneOfAKey,
		"a letter lets its key go on":             deadGoesOn,
		"events without a key are in no order":    noKey,
		"a killed daemon's keys stay in order":    killedKeepsOrder,
		"nothing puts effects out of their order": effects,
		"redelivered events do not overtake":      redeliveredOrder,
		"what is given back keeps its place":      releasedKeepsPlace,
	}
}

func holds(p *place) {
	a, s := p.ordered()
	b := p.daemon()
	held := some(3, "blog.post.made", "held")
	p.publish(a, held...)
	first := p.receive(a, s, func(bus.Delivery) bus.Verdict { return bus.Retry(time.Hour, because("not yet")) })
	require.Equal(p.T, held[0].ID, first.wait(p, 1)[0].Event.ID)
	free := some(20, "blog.post.made", "free")
	require.NoError(p.T, p.stop(first.call))
	in := p.receive(b, s, nil)
	p.publish(a, free...)
	in.wait(p, 20)
	require.Equal(p.T, ids(free), in.ids()[:20])
	p.holding(a, s, 3)
	for _, id := range append(in.ids(), first.ids()[1:]...) {
		require.NotContains(p.T, ids(held), id)
	}
}

func oneOfAKey(p *place) {
	a, s := p.ordered()
	b := p.daemon()
	var busy sync.Map
	all := newBox[string]()
	for _, via := range []bus.Bus{a, b} {
		p.consume(via, s, bus.Consumer{Concurrency: 8, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			if _, other := busy.LoadOrStore(d.Event.Key, true); other {
				p.Errorf("two of key %s at once", d.Event.Key)
			}
			defer busy.Delete(d.Event.Key)
			all.put(d.Event.Key + d.Event.Subject)
			return bus.Ack()
		}})
	}
	var want []string
	for n := range 30 {
		batch := make([]bus.Event, 5)
		for i := range batch {
			batch[i] = event("blog.post.made", fmt.Sprint("key", i, "/"))
			batch[i].Subject = fmt.Sprint(n)
			want = append(want, batch[i].Key+batch[i].Subject)
		}
		p.publish([]bus.Bus{a, b}[n%2], batch...)
	}
	all.wait(p, 150)
	p.finished(a, s)
	require.ElementsMatch(p.T, want, all.all())
}

func deadGoesOn(p *place) {
	b, s := p.ordered()
	events := some(4, "blog.post.made", "one")
	p.publish(b, events...)
	in := p.receive(b, s, func(d bus.Delivery) bus.Verdict {
		if d.Event.Subject == "1" {
			return bus.Dead(because("dead"))
		}
		return bus.Ack()
	})
	in.wait(p, 4)
	require.Equal(p.T, ids(events), in.ids())
	p.finished(b, s)
}

func noKey(p *place) {
	b, s := p.ordered()
	g := p.gate()
	p.publish(b, some(4, "blog.post.made")...)
	p.behind(g, b, s, 4)
	g.entered.wait(p, 4) // all at once
	g.let()
	p.finished(b, s)
}

func killedKeepsOrder(p *place) {
	a, s := p.ordered()
	b := p.daemon()
	events := some(6, "blog.post.made", "one")
	p.publish(a, events...)
	g := p.gate()
	p.behind(g, a, s, 4)
	require.Equal(p.T, events[0].ID, g.entered.wait(p, 1)[0].Event.ID)
	in := p.receive(b, s, nil)
	other := event("blog.post.made", "other")
	p.publish(b, other)
	p.eventually("the other key is handled, by whichever daemon", func() bool {
		return len(g.entered.all())+len(in.all()) == 2
	})
	for _, d := range append(g.entered.all()[1:], in.all()...) {
		require.Equal(p.T, other.ID, d.Event.ID, "the rest of the key waits for what is being handled")
	}
	p.kill(a)
	in.wait(p, 7)
	inOrder := slices.DeleteFunc(in.ids(), func(id string) bool { return id == other.ID })
	require.Equal(p.T, ids(events), inOrder)
}

// ledger is what the handlers of a module do: each event has its effect once, as with an inbox in the module's database.
type ledger struct {
	mu     sync.Mutex
	done   map[string]bool // by event
	last   map[string]int  // by key
	errors []string
	full   chan struct{} // closed when all have had their effect
	want   int
}

func (l *ledger) apply(e bus.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done[e.ID] {
		return
	}
	l.done[e.ID] = true
	if next := fmt.Sprint(l.last[e.Key]); next != e.Subject {
		l.errors = append(l.errors, fmt.Sprintf("key %s: %s came where %s was due", e.Key, e.Subject, next))
	}
	l.last[e.Key]++
	if len(l.done) == l.want {
		close(l.full)
	}
}

func effects(p *place) {
	const keys, each, kills = 12, 25, 5
	book := &ledger{done: map[string]bool{}, last: map[string]int{}, full: make(chan struct{}), want: keys * each}
	publisher, s := p.ordered()
	handle := func(_ context.Context, d bus.Delivery) bus.Verdict {
		switch rand.IntN(12) {
		case 2:
			return bus.Release()
		case 0:
			return bus.Retry(time.Duration(rand.IntN(20))*time.Millisecond, because("not yet"))
		case 1:
			book.apply(d.Event) // and then it fails all the same
			return bus.Retry(0, because("too late"))
		}
		book.apply(d.Event)
		return bus.Ack()
	}
	start := func() bus.Bus {
		b := p.daemon()
		p.consume(b, s, bus.Consumer{Concurrency: 4, Handle: handle})
		return b
	}
	p.ends("publishing", func() {
		daemons := []bus.Bus{start(), start()}
		for n := range each {
			batch := make([]bus.Event, keys)
			for key := range batch {
				batch[key] = event("blog.post.made", fmt.Sprint("key", key))
				batch[key].Subject = fmt.Sprint(n)
			}
			if errs := publisher.Publish(p.Context(), batch); errs != nil {
				p.Error(errs)
			}
			if n%(each/kills) == 1 {
				p.kill(daemons[0])
				daemons = append(daemons[1:], start())
			}
		}
	})
	p.within("the handling of all events", book.full)
	p.finished(publisher, s)
	book.mu.Lock()
	defer book.mu.Unlock()
	require.Empty(p.T, book.errors)
}

func redeliveredOrder(p *place) {
	b, s := p.ordered()
	events := some(3, "blog.post.made", "one")
	p.publish(b, events[0])
	require.NoError(p.T, b.Redeliver(p.Context(), s.ID(), events[1]))
	p.publish(b, events[2])
	in := p.receive(b, s, nil)
	in.wait(p, 3)
	require.Equal(p.T, ids(events), in.ids())
}

func releasedKeepsPlace(p *place) {
	a, s := p.ordered()
	b := p.daemon()
	events := some(20, "blog.post.made", "one")
	p.publish(a, events...)
	var mu sync.Mutex
	before := map[string]int{}
	taken := newBox[string]()
	for _, via := range []bus.Bus{a, b} {
		p.consume(via, s, bus.Consumer{Concurrency: 4, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			mu.Lock()
			defer mu.Unlock()
			before[d.Event.ID]++
			if before[d.Event.ID] < 3 {
				return bus.Release()
			}
			taken.put(d.Event.ID)
			return bus.Ack()
		}})
	}
	require.Equal(p.T, ids(events), taken.wait(p, 20))
}
