package amqp

import (
	"context"
	"errors"

	"github.com/platformd/platformd/core/internal/bus"
)

// batch is one call of Publish.
type batch struct {
	bus     *Bus
	events  []bus.Event
	parcels []parcel
	errs    []error
	chains  [][]int // places of events, of which each is sent after the one before it was taken
	left    int     // that have no result yet
	results chan result
}

type result struct {
	chain int
	err   error
}

// Publish implements bus.Bus.
func (b *Bus) Publish(ctx context.Context, events []bus.Event) []error {
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		errs := make([]error, len(events))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	defer leave()
	p := &batch{bus: b, events: events, parcels: make([]parcel, len(events)), left: len(events)}
	p.link()
	p.results = make(chan result, len(p.chains))
	for chain := range p.chains {
		p.send(ctx, chain)
	}
	for p.left > 0 {
		select {
		case r := <-p.results:
			p.took(ctx, r)
		case <-ctx.Done():
			p.giveUp(b.ended(ctx, errUnconfirmed))
		}
	}
	return p.errs
}

// link puts events of one key into one chain, and each other one into its own.
func (p *batch) link() {
	chains := make(map[string]int)
	p.chains = make([][]int, 0, len(p.events))
	for i := range p.events {
		if key := p.events[i].Key; key != "" {
			if chain, ok := chains[key]; ok {
				p.chains[chain] = append(p.chains[chain], i)
				continue
			}
			chains[key] = len(p.chains)
		}
		p.chains = append(p.chains, []int{i})
	}
}

// send sends the first event of a chain that has no result yet.
func (p *batch) send(ctx context.Context, chain int) {
	for len(p.chains[chain]) > 0 {
		place := p.chains[chain][0]
		what, event := &p.parcels[place], &p.events[place]
		if what.done == nil {
			if err := event.Check(); err != nil {
				p.end(chain, err)
				continue
			}
			*what = parcel{
				exchange: p.bus.names.events(), key: event.Type, message: encode(event, publication()),
				done: func(err error) { p.results <- result{chain, err} },
			}
		}
		if err := p.bus.ship(ctx, what); err != nil {
			p.end(chain, err)
			continue
		}
		return
	}
}

// took goes on with a chain when the broker has said what became of its first event.
func (p *batch) took(ctx context.Context, r result) {
	if p.chains[r.chain] == nil {
		return
	}
	if errors.Is(r.err, errLost) { // it may have been taken, or not
		p.send(ctx, r.chain)
		return
	}
	if r.err == nil {
		p.bus.copy(&p.parcels[p.chains[r.chain][0]])
	}
	p.end(r.chain, r.err)
	p.send(ctx, r.chain)
}

// end gives the first event of a chain its result. One that was not taken keeps those behind it from being tried.
func (p *batch) end(chain int, err error) {
	rest := p.chains[chain]
	p.fail(rest[0], err)
	p.chains[chain] = rest[1:]
	if err == nil {
		return
	}
	for _, place := range rest[1:] {
		p.fail(place, bus.ErrSkipped)
	}
	p.chains[chain] = nil
}

func (p *batch) fail(place int, err error) {
	p.left--
	if err == nil {
		return
	}
	if p.errs == nil {
		p.errs = make([]error, len(p.events))
	}
	p.errs[place] = err
}

// giveUp ends all chains. What is on its way may still be taken.
func (p *batch) giveUp(err error) {
	for chain, rest := range p.chains {
		if len(rest) > 0 {
			p.bus.abandon(&p.parcels[rest[0]])
			p.end(chain, err)
		}
	}
}

// Redeliver implements bus.Bus.
func (b *Bus) Redeliver(ctx context.Context, subscription string, e bus.Event) error {
	s, ok := parse(subscription)
	if !ok {
		return bus.ErrUnroutable
	}
	if err := e.Check(); err != nil {
		return err
	}
	ctx, leave, err := b.enterBounded(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return b.deliver(ctx, &parcel{key: b.names.queue(s), message: encode(&e, publication())})
}
