package bustest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/bus"
)

func failing() map[string]func(*place) {
	return map[string]func(*place){
		"what is tried again comes again":          retried,
		"it comes no sooner than it was told":      delayed,
		"it does not hold up others":               aside,
		"what waits for another try outlives all":  waitsDurably,
		"what died becomes a letter":               died,
		"a letter is kept until it is taken":       letterStays,
		"a letter outlives its daemon":             letterOutlives,
		"a failure's text may be anything":         anyText,
		"an event dies once in each subscription":  diesInEach,
		"redelivery is to one subscription":        redelivered,
		"redelivered events may die again":         diesAgain,
		"letters of all subscriptions are handed":  allLetters,
		"nothing is redelivered to who is unknown": redeliveredNowhere,
		"what is given back is as if not begun":    released,
		"what is given back goes to others":        releasedToOthers,
	}
}

func because(text string) bus.Failure { return bus.Failure{Reason: bus.ReasonAttempts, Error: text} }

func retried(p *place) {
	b, subscriptions := p.declared("blog.*")
	events := some(10, "blog.made")
	p.publish(b, events...)
	in := p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		switch d.Attempt {
		case 4:
			return bus.Ack()
		case 1:
			return bus.Retry(-time.Second, because("not yet"))
		}
		return bus.Retry(time.Millisecond, because("not yet"))
	})
	in.wait(p, 40)
	p.finished(b, subscriptions[0])
	attempts := map[string][]int{}
	for _, d := range in.all() {
		attempts[d.Event.ID] = append(attempts[d.Event.ID], d.Attempt)
	}
	for _, e := range events {
		require.Equal(p.T, []int{1, 2, 3, 4}, attempts[e.ID])
	}
}

func delayed(p *place) {
	b, subscriptions := p.declared("blog.*")
	p.publish(b, event("blog.made"))
	const after = 700 * time.Millisecond
	var decided, came time.Time
	p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		if d.Attempt == 1 {
			decided = time.Now()
			return bus.Retry(after, because("not yet"))
		}
		came = time.Now()
		return bus.Ack()
	}).wait(p, 2)
	require.Greater(p.T, came.Sub(decided), after*9/10)
}

func aside(p *place) {
	b, subscriptions := p.declared("blog.*")
	events := some(20, "blog.made", "one key")
	p.publish(b, events...)
	in := p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		if slices.Contains([]string{"0", "1", "5"}, d.Event.Subject) {
			return bus.Retry(time.Hour, because("not yet"))
		}
		return bus.Ack()
	})
	in.wait(p, 20)
	p.eventually("three wait", func() bool { return p.pending(b)[subscriptions[0].ID()].Waiting == 3 })
	p.holding(b, subscriptions[0], 3)
	require.ElementsMatch(p.T, ids(events), in.ids())
}

func waitsDurably(p *place) {
	a, subscriptions := p.declared("blog.*")
	p.publish(a, some(2, "blog.made")...)
	first := p.receive(a, subscriptions[0], func(bus.Delivery) bus.Verdict { return bus.Retry(time.Second, because("not yet")) })
	first.wait(p, 2)
	require.NoError(p.T, p.stop(first.call))
	require.NoError(p.T, a.Close())
	for _, d := range p.receive(p.daemon(), subscriptions[0], nil).wait(p, 2) {
		require.Equal(p.T, 2, d.Attempt)
	}
}

func died(p *place) {
	b, subscriptions := p.declared("blog.*")
	began := time.Now()
	e := event("blog.made", "k")
	e.Data = []byte{0, 1, 2, 255}
	e.TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	p.publish(b, e)
	in := p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		if d.Attempt < 3 {
			return bus.Retry(0, because("not yet"))
		}
		return bus.Dead(bus.Failure{Reason: bus.ReasonDropped, Error: "the post is gone: 🙁"})
	})
	letters := newBox[bus.DeadLetter]()
	p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error {
		letters.put(l)
		return nil
	})
	letter := letters.wait(p, 1)[0]
	require.NotEmpty(p.T, letter.ID)
	require.Equal(p.T, e, letter.Event)
	require.Equal(p.T, subscriptions[0].ID(), letter.Subscription)
	require.Equal(p.T, bus.Failure{Reason: bus.ReasonDropped, Error: "the post is gone: 🙁"}, letter.Failure)
	require.Equal(p.T, 3, letter.Attempts)
	require.Equal(p.T, time.UTC, letter.At.Location())
	require.WithinRange(p.T, letter.At, began.Add(-time.Minute), time.Now().Add(time.Minute))
	p.finished(b, subscriptions[0])
	require.Len(p.T, in.all(), 3)
	require.Len(p.T, letters.all(), 1)
}

// kills makes n letters, and waits until they have died.
func (p *place) kills(b bus.Bus, s bus.Subscription, n int) []bus.Event {
	p.Helper()
	events := some(n, "blog.made")
	p.publish(b, events...)
	in := p.receive(b, s, func(bus.Delivery) bus.Verdict { return bus.Dead(because("dead")) })
	in.wait(p, n)
	require.NoError(p.T, p.stop(in.call))
	p.finished(b, s)
	return events
}

func letterStays(p *place) {
	b, subscriptions := p.declared("blog.*")
	events := p.kills(b, subscriptions[0], 3)
	tries := newBox[bus.DeadLetter]()
	taken := newBox[bus.DeadLetter]()
	letters := p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error {
		times := 0
		for _, before := range tries.all() {
			if before.Event.ID == l.Event.ID {
				times++
				if before.ID != l.ID || !before.At.Equal(l.At) {
					p.Errorf("the letter was %+v and is %+v", before, l)
				}
			}
		}
		tries.put(l)
		if times < 2 {
			return errors.New("the table of letters cannot be written")
		}
		taken.put(l)
		return nil
	})
	taken.wait(p, 3)
	require.NoError(p.T, p.stop(letters))
	names, died := map[string]bool{}, []string{}
	for _, l := range taken.all() {
		names[l.ID] = true
		died = append(died, l.Event.ID)
	}
	require.Len(p.T, names, 3, "each has an ID of its own")
	require.ElementsMatch(p.T, ids(events), died)
	// What was taken does not come again; a letter that is made later shows that there was time for it.
	p.kills(b, subscriptions[0], 1)
	later := newBox[bus.DeadLetter]()
	p.deadLetters(p.daemon(), func(_ context.Context, l bus.DeadLetter) error {
		later.put(l)
		return nil
	})
	later.wait(p, 1)
	require.NotContains(p.T, died, later.all()[0].Event.ID)
}

func letterOutlives(p *place) {
	a, subscriptions := p.declared("blog.*")
	p.kills(a, subscriptions[0], 1)
	g, first := p.gate(), newBox[bus.DeadLetter]()
	p.deadLetters(a, func(_ context.Context, l bus.DeadLetter) error {
		first.put(l)
		<-g.open.Done()
		return nil
	})
	want := first.wait(p, 1)[0]
	p.kill(a)
	g.let() // it was kept, and the bus does not know
	second := newBox[bus.DeadLetter]()
	p.deadLetters(p.daemon(), func(_ context.Context, l bus.DeadLetter) error {
		second.put(l)
		return nil
	})
	require.Equal(p.T, want, second.wait(p, 1)[0])
}

func anyText(p *place) {
	b, subscriptions := p.declared("blog.*")
	text := "boom: \xff\x00\r\n\x1b[31m" + strings.Repeat("ü", 1<<19)
	p.publish(b, event("blog.made"))
	p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		if d.Attempt == 1 {
			return bus.Retry(0, because(text))
		}
		return bus.Dead(because(text))
	}).wait(p, 2)
	letters := newBox[bus.DeadLetter]()
	p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error {
		letters.put(l)
		return nil
	})
	letter := letters.wait(p, 1)[0]
	require.True(p.T, strings.HasPrefix(letter.Failure.Error, "boom: "), "%.80q", letter.Failure.Error)
	require.Equal(p.T, bus.ReasonAttempts, letter.Failure.Reason)
	require.Equal(p.T, 2, letter.Attempts)
}

func diesInEach(p *place) {
	b, subscriptions := p.declared("blog.made", "blog.*")
	e := event("blog.made")
	p.publish(b, e)
	for _, s := range subscriptions {
		p.receive(b, s, func(bus.Delivery) bus.Verdict { return bus.Dead(because("dead in " + s.ID())) }).wait(p, 1)
	}
	letters := newBox[bus.DeadLetter]()
	p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error {
		letters.put(l)
		return nil
	})
	both := letters.wait(p, 2)
	require.NotEqual(p.T, both[0].ID, both[1].ID)
	for _, l := range both {
		require.Equal(p.T, e, l.Event)
		require.Equal(p.T, "dead in "+l.Subscription, l.Failure.Error)
	}
}

func redelivered(p *place) {
	b, subscriptions := p.declared("blog.made", "blog.*")
	all := event("blog.made", "key")
	all.Subject, all.Data = "ü", []byte{0, 255}
	require.NoError(p.T, b.Redeliver(p.Context(), subscriptions[1].ID(), all))
	require.EqualValues(p.T, 0, p.total(b, subscriptions[0]))
	got := p.receive(p.daemon(), subscriptions[1], nil).wait(p, 1)[0]
	require.Equal(p.T, all, got.Event)
	require.Equal(p.T, 1, got.Attempt)
	require.Equal(p.T, subscriptions[1].ID(), got.Subscription)
	p.finished(b, subscriptions...)
}

func diesAgain(p *place) {
	b, subscriptions := p.declared("blog.*")
	events := p.kills(b, subscriptions[0], 1)
	letters := newBox[bus.DeadLetter]()
	p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error {
		letters.put(l)
		return nil
	})
	first := letters.wait(p, 1)[0]
	require.NoError(p.T, b.Redeliver(p.Context(), first.Subscription, first.Event))
	in := p.receive(b, subscriptions[0], func(bus.Delivery) bus.Verdict { return bus.Dead(because("again")) })
	require.Equal(p.T, 1, in.wait(p, 1)[0].Attempt)
	second := letters.wait(p, 2)[1]
	require.NotEqual(p.T, first.ID, second.ID)
	require.Equal(p.T, events[0], second.Event)
	require.Equal(p.T, "again", second.Failure.Error)
}

func allLetters(p *place) {
	a, subscriptions := p.declared("blog.made")
	search := bus.Subscription{Module: "search", Pattern: "blog.*", Ordered: true}
	require.NoError(p.T, a.Declare(p.Context(), "search", []bus.Subscription{search}))
	b := p.daemon()
	letters := newBox[bus.DeadLetter]()
	p.deadLetters(b, func(_ context.Context, l bus.DeadLetter) error {
		letters.put(l)
		return nil
	})
	p.publish(a, some(10, "blog.made", "k")...)
	for _, s := range append(subscriptions, search) {
		p.receive(a, s, func(bus.Delivery) bus.Verdict { return bus.Dead(because("dead")) })
	}
	count := map[string]int{}
	for _, l := range letters.wait(p, 20) {
		count[l.Subscription]++
	}
	require.Equal(p.T, map[string]int{subscriptions[0].ID(): 10, search.ID(): 10}, count)
}

func redeliveredNowhere(p *place) {
	b, _ := p.declared("blog.*")
	require.ErrorIs(p.T, b.Redeliver(p.Context(), "search:blog.*", event("blog.made")), bus.ErrUnroutable)
}

func released(p *place) {
	b, subscriptions := p.declared("blog.*")
	p.publish(b, event("blog.made"))
	count := 0
	in := p.receive(b, subscriptions[0], func(d bus.Delivery) bus.Verdict {
		count++
		switch {
		case count == 26: // over 20: it is not as if somebody was killed
			return bus.Retry(0, because("not yet"))
		case count < 30:
			return bus.Release()
		}
		return bus.Ack()
	})
	in.wait(p, 30)
	p.finished(b, subscriptions[0])
	for i, d := range in.all() {
		want := 1
		if i >= 26 {
			want = 2
		}
		require.Equal(p.T, want, d.Attempt, i)
	}
}

func releasedToOthers(p *place) {
	a, subscriptions := p.declared("blog.*")
	events := some(10, "blog.made")
	p.publish(a, events...)
	first := p.receive(a, subscriptions[0], func(bus.Delivery) bus.Verdict { return bus.Release() })
	first.wait(p, 1)
	rest := p.receive(p.daemon(), subscriptions[0], nil)
	rest.wait(p, 1)
	require.NoError(p.T, p.stop(first.call))
	rest.wait(p, 10)
	p.finished(a, subscriptions[0])
	require.ElementsMatch(p.T, ids(events), rest.ids())
}
