package bustest

import (
	"context"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func consuming() map[string]func(*place) {
	return map[string]func(*place){
		"no more are handled at once than may be":  concurrency,
		"one at a time unless told otherwise":      oneAtATime,
		"many consumers share a subscription":      shared,
		"who waits gets what comes":                waiting,
		"what has begun is finished":               finishes,
		"what a stopped consumer left comes again": leftOver,
		"what a killed daemon had comes again":     killedComesAgain,
		"a killed daemon has no say any more":      killedHasNoSay,
		"daemons that were killed do not count":    killedDoNotCount,
		"killed too often is dead":                 abandoned,
	}
}

func concurrency(p *place) {
	b, subscriptions := p.declared("blog.*")
	p.publish(b, some(20, "blog.made")...)
	g := p.gate()
	p.behind(g, b, subscriptions[0], 4)
	g.entered.wait(p, 4)
	p.eventually("four are in flight", func() bool { return p.pending(b)[subscriptions[0].ID()].InFlight >= 4 })
	require.EqualValues(p.T, 4, g.inside.Load())
	p.holding(b, subscriptions[0], 20)
	g.let()
	g.entered.wait(p, 20)
	p.finished(b, subscriptions[0])
}

func oneAtATime(p *place) {
	b, subscriptions := p.declared("blog.*")
	var alone sync.Mutex
	all := newBox[string]()
	p.consume(b, subscriptions[0], bus.Consumer{Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
		if !alone.TryLock() {
			p.Error("two at once")
			return bus.Ack()
		}
		defer alone.Unlock()
		all.put(d.Event.ID)
		return bus.Ack()
	}})
	events := some(50, "blog.made")
	p.publish(b, events...)
	require.ElementsMatch(p.T, ids(events), all.wait(p, 50))
}

func shared(p *place) {
	a, subscriptions := p.declared("blog.*")
	b := p.daemon()
	var held sync.Map
	all := newBox[string]()
	for _, via := range []bus.Bus{a, a, b, b} {
		p.consume(via, subscriptions[0], bus.Consumer{Concurrency: 3, Handle: func(_ context.Context, d bus.Delivery) bus.Verdict {
			if _, twice := held.LoadOrStore(d.Event.ID, true); twice {
				p.Errorf("event %s is with two at once", d.Event.ID)
			}
			defer held.Delete(d.Event.ID)
			all.put(d.Event.ID)
			return bus.Ack()
		}})
	}
	events := some(200, "blog.made")
	for i := 0; i < len(events); i += 20 {
		p.publish([]bus.Bus{a, b}[i/20%2], events[i:i+20]...)
	}
	all.wait(p, 200)
	p.finished(a, subscriptions[0])
	require.ElementsMatch(p.T, ids(events), all.all())
}

func waiting(p *place) {
	a, subscriptions := p.declared("blog.*")
	b := p.daemon()
	here, there := p.receive(a, subscriptions[0], nil), 0
	for i := range 10 {
		p.publish(b, event("blog.made"))
		here.wait(p, i+1)
	}
	require.NoError(p.T, p.stop(here.call))
	far := p.receive(b, subscriptions[0], nil)
	for range 10 {
		there++
		p.publish(a, event("blog.made"))
		far.wait(p, there)
	}
}

// value is of a context.
type value struct{}

func finishes(p *place) {
	b, subscriptions := p.declared("blog.*")
	p.publish(b, some(3, "blog.made")...)
	g := p.gate()
	seen := make(chan error, 3)
	consume := p.call(func(ctx context.Context) error {
		ctx = context.WithValue(ctx, value{}, "v")
		return b.Consume(ctx, subscriptions[0], bus.Consumer{Handle: func(handling context.Context, d bus.Delivery) bus.Verdict {
			if handling.Value(value{}) != "v" {
				p.Error("the context of Consume is not that of Handle")
			}
			v := g.handle(handling, d)
			seen <- handling.Err()
			return v
		}})
	})
	first := g.entered.wait(p, 1)[0]
	consume.cancel()
	select {
	case <-consume.done:
		p.Fatal("Consume did not wait for the delivery that is being handled")
	default:
	}
	g.let()
	require.NoError(p.T, p.stop(consume))
	require.NoError(p.T, <-seen)
	require.Len(p.T, g.entered.all(), 1, "nothing is handed out after the end")
	p.holding(b, subscriptions[0], 2) // it was acknowledged
	for _, d := range p.receive(b, subscriptions[0], nil).wait(p, 2) {
		require.NotEqual(p.T, first.Event.ID, d.Event.ID)
	}
}

func leftOver(p *place) {
	a, subscriptions := p.declared("blog.*")
	b := p.daemon()
	events := some(30, "blog.made")
	p.publish(a, events...)
	first := p.receive(a, subscriptions[0], nil)
	first.wait(p, 1)
	require.NoError(p.T, p.stop(first.call))
	had := first.ids()
	rest := p.receive(b, subscriptions[0], nil)
	rest.wait(p, 30-len(had))
	p.finished(a, subscriptions[0])
	require.ElementsMatch(p.T, ids(events), append(had, rest.ids()...))
	for _, d := range rest.all() {
		require.Equal(p.T, 1, d.Attempt)
	}
}

func killedComesAgain(p *place) {
	a, subscriptions := p.declared("blog.*")
	b := p.daemon()
	events := some(5, "blog.made")
	p.publish(a, events...)
	g := p.gate()
	p.behind(g, a, subscriptions[0], 3)
	g.entered.wait(p, 3)
	rest := p.receive(b, subscriptions[0], nil)
	rest.wait(p, 1)
	p.kill(a)
	rest.wait(p, 5)
	p.finished(b, subscriptions[0])
	require.ElementsMatch(p.T, ids(events), rest.ids())
	for _, d := range rest.all() {
		require.Equal(p.T, 1, d.Attempt)
	}
}

func killedHasNoSay(p *place) {
	a, subscriptions := p.declared("blog.*")
	p.publish(a, some(2, "blog.made")...)
	g := p.gate()
	consume := p.behind(g, a, subscriptions[0], 2)
	g.entered.wait(p, 2)
	p.kill(a)
	g.let() // both say that it was done
	p.within("Consume of a killed daemon", consume.done)
	p.receive(p.daemon(), subscriptions[0], nil).wait(p, 2)
}

func killedDoNotCount(p *place) {
	a, subscriptions := p.declared("blog.*")
	p.publish(a, event("blog.made"))
	b := p.daemon()
	g := p.gate()
	p.consume(b, subscriptions[0], bus.Consumer{Handle: func(ctx context.Context, d bus.Delivery) bus.Verdict {
		if d.Attempt == 1 {
			return bus.Retry(0, bus.Failure{Reason: bus.ReasonAttempts, Error: "not yet"})
		}
		return g.handle(ctx, d)
	}})
	require.Equal(p.T, 2, g.entered.wait(p, 1)[0].Attempt)
	p.kill(b)
	require.Equal(p.T, 2, p.receive(a, subscriptions[0], nil).wait(p, 1)[0].Attempt)
}

func abandoned(p *place) {
	watcher, subscriptions := p.declared("blog.*")
	e := event("blog.made")
	p.publish(watcher, e)
	letters := newBox[bus.DeadLetter]()
	p.deadLetters(watcher, func(_ context.Context, l bus.DeadLetter) error {
		letters.put(l)
		return nil
	})
	entered := newBox[bus.Delivery]()
	g := p.gate()
	for n := 1; n <= 21; n++ { // over 20
		b := p.daemon()
		p.consume(b, subscriptions[0], bus.Consumer{Handle: func(ctx context.Context, d bus.Delivery) bus.Verdict {
			entered.put(d)
			return g.handle(ctx, d)
		}})
		entered.wait(p, n)
		require.Empty(p.T, letters.all(), "killed %d times", n-1)
		p.kill(b)
	}
	p.receive(p.daemon(), subscriptions[0], func(bus.Delivery) bus.Verdict {
		p.Error("it came once more")
		return bus.Ack()
	})
	letter := letters.wait(p, 1)[0]
	require.Equal(p.T, e, letter.Event)
	require.Equal(p.T, bus.ReasonAbandoned, letter.Failure.Reason)
	require.Equal(p.T, subscriptions[0].ID(), letter.Subscription)
	require.Contains(p.T, letter.Failure.Error, "fix: ")
	p.finished(watcher, subscriptions[0])
}
