package embedded

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// work is what goes into one transaction.
type work struct {
	publishes []*publication
	settles   []settle
	gone      []string // tails
	asks      []*ask
	renew     bool // the lease, even if nothing is taken
	sweep     bool // see what others left
	doubt     bool // see what this daemon does not know that it holds
	last      bool // of this bus
}

// unsynced tells whether a power cut may undo the work. What was taken then comes again, and so does what was ended: as it may
// after any kill. What is published must not be lost.
func (w *work) unsynced() bool { return len(w.publishes) == 0 }

// ask is what a consumer has room for.
type ask struct {
	c             *consumer
	room          int
	look, overdue bool
	sub           int64
	got           []*delivery
	next          int64 // when something is due, if that was looked for; 0: nothing is
}

// write is the one goroutine that writes, until the bus has ended.
func (b *Bus) write() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	away := &outage{log: b.o.Log}
	var giveUp time.Time
	for {
		w, next := b.plan(away.until)
		switch {
		case b.alive.Err() != nil || !giveUp.IsZero() && time.Now().After(giveUp):
			b.kill()
			return
		case w == nil:
			timer.Reset(next)
			select {
			case <-b.kick:
			case <-timer.C:
			case <-b.alive.Done():
			}
			continue
		case w.last && giveUp.IsZero():
			giveUp = time.Now().Add(closeWait)
		}
		err := b.do(w)
		if away.tell(err); w.last && err == nil {
			return
		}
	}
}

// idle is how long the writer waits when it knows of nothing to come.
const idle = time.Hour

// plan takes what there is to do; nil: nothing, for a while.
func (b *Bus) plan(away time.Time) (*work, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if wait := away.Sub(now); wait > 0 && len(b.publishes) == 0 { // who publishes wants an answer
		return nil, wait
	}
	w, next := &work{gone: b.gone, doubt: b.due.doubt}, now.Add(idle)
	w.publishes = b.takePublishes()
	if b.closed {
		w.last = len(b.consumers) == 0
	} else {
		b.planAsks(w, now, &next)
		w.sweep = reached(&b.due.sweep, now, &next)
		if reached(&b.due.look, now, &next) {
			b.due.look = now.Add(b.o.look)
			next = earlier(next, b.due.look)
			w.sweep = true
		}
	}
	if b.holds() {
		w.renew = reached(&b.due.renew, now, &next)
	}
	if !w.now() && !reached(&b.due.settle, now, &next) {
		return nil, next.Sub(now)
	}
	w.settles, b.settles, b.gone, b.due.doubt, b.due.settle = b.settles, nil, nil, false, time.Time{}
	return w, 0
}

// now tells whether the work must not wait. Verdicts have a time of their own.
func (w *work) now() bool {
	return len(w.publishes)+len(w.gone) > 0 || w.renew || w.sweep || w.doubt || w.last ||
		slices.ContainsFunc(w.asks, func(a *ask) bool { return a.look })
}

// reached tells whether a time has come, and clears it; else the writer wakes for it.
func reached(at *time.Time, now time.Time, next *time.Time) bool {
	switch {
	case at.IsZero():
		return false
	case at.After(now):
		*next = earlier(*next, *at)
		return false
	}
	*at = time.Time{}
	return true
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// takePublishes takes as many as go into one transaction.
func (b *Bus) takePublishes() (taken []*publication) {
	events, size := 0, 0
	for i, p := range b.publishes {
		if i > 0 && (events+len(p.items) > maxEvents || size+p.size > maxBytes) {
			break
		}
		events, size = events+len(p.items), size+p.size
		taken = b.publishes[:i+1]
	}
	b.publishes = b.publishes[len(taken):]
	return taken
}

// planAsks asks for what consumers have room for. The bus is locked.
func (b *Bus) planAsks(w *work, now time.Time, next *time.Time) {
	look := !b.due.look.IsZero() && !b.due.look.After(now)
	for c := range b.consumers {
		if look || reached(&c.due, now, next) {
			c.look, c.overdue = true, true
		}
		if stuck := c.began.Add(stuckAfter); len(c.queue) > 0 && reached(&stuck, now, next) {
			c.mean = time.Minute
			b.giveBack(c)
		}
		if room := c.room(); room > 0 && !c.stopped {
			w.asks = append(w.asks, &ask{c: c, room: room, look: c.look, overdue: c.overdue})
			c.look, c.overdue = false, false
		}
	}
}

// holds tells whether the lease is needed. The bus is locked.
func (b *Bus) holds() bool {
	if len(b.held) > 0 {
		return true
	}
	for c := range b.consumers {
		if c.tail != "" {
			return true
		}
	}
	return false
}

// do does the work in one transaction, and tells everybody.
func (b *Bus) do(w *work) error {
	wait := turnWait
	if w.last {
		wait = closeWait
	}
	ctx, cancel := context.WithTimeout(b.alive, wait)
	defer cancel()
	if w.unsynced() {
		ctx = sqlite.WithoutSync(ctx)
	}
	for {
		t := newTurn(b, w)
		err := b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			t.tx = tx
			return t.run()
		})
		if ctx.Err() == nil && (errors.Is(err, sqlite.ErrBusy) || errors.Is(err, postgres.ErrSerialization)) {
			continue
		}
		if err != nil {
			b.failed(w, err)
			return err
		}
		b.done(w, t)
		if b.o.hub != nil {
			b.o.hub.tell(b, t.news())
		}
		return nil
	}
}

// failed puts back what was not done, except for what was published: whoever did so is told. Any of it may have been done.
func (b *Bus) failed(w *work, err error) {
	err = failure(err)
	if b.alive.Err() != nil {
		err = bus.ErrClosed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range w.publishes {
		p.end(err)
	}
	if b.settles = append(w.settles, b.settles...); len(b.settles) > 0 {
		b.due.settle = time.Now()
	}
	b.gone = append(w.gone, b.gone...)
	for _, a := range w.asks {
		a.c.look, a.c.overdue = a.c.look || a.look, a.c.overdue || a.overdue
	}
	b.due.doubt = w.doubt || len(w.asks) > 0
	if w.renew {
		b.due.renew = time.Now()
	}
	if w.sweep {
		b.due.sweep = time.Now()
	}
}

// done hands over what a transaction has brought.
func (b *Bus) done(w *work, t *turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	local := func(at int64) time.Time { return now.Add(time.Duration(at-t.now) * time.Microsecond) }
	if b.holder != 0 && b.holder != t.holder && len(b.held) > 0 {
		b.o.Log.Warn("the event bus was silent for too long: what it was handling is handled again", "lease", b.o.Lease)
	}
	b.holder = t.holder
	if t.renewed {
		b.due.renew = now.Add(b.o.Lease / 3)
	}
	if t.sweepNext > 0 {
		b.due.sweep = earlier(b.due.sweep, local(t.sweepNext).Add(10*time.Millisecond))
	}
	b.gone = append(b.gone, t.orphans...)
	for _, p := range w.publishes {
		p.end(nil)
	}
	for _, s := range w.settles {
		delete(b.held, holding{s.deliveryID, s.holder})
	}
	for _, a := range w.asks {
		a.c.sub = a.sub
		if a.next > 0 {
			a.c.due = earlier(a.c.due, local(a.next))
		}
		if len(a.got) == a.room { // there may be more
			a.c.look, a.c.overdue = true, a.c.overdue || a.overdue
		}
		b.hand(a.c, a.got)
	}
	for c := range b.consumers {
		if at, ok := t.later[c.lane()]; ok {
			c.due = earlier(c.due, local(at))
		}
		if t.touched[c.lane()] && !c.asked(w) {
			c.look = true
		}
	}
}

// lane is the subscription whose deliveries a consumer wants; deadLane stands for the letters of all.
func (c *consumer) lane() int64 {
	if c.dead {
		return deadLane
	}
	return c.sub
}

func (c *consumer) asked(w *work) bool {
	for _, a := range w.asks {
		if a.c == c {
			return true
		}
	}
	return false
}

// outage logs the first of many failures, and the end of them.
type outage struct {
	log interface {
		Error(string, ...any)
		Info(string, ...any)
	}
	pause time.Duration
	until time.Time // when to try again; zero: all is well
}

func (o *outage) tell(err error) {
	switch {
	case err == nil && o.pause > 0:
		o.pause, o.until = 0, time.Time{}
		o.log.Info("the event bus works again")
	case err != nil:
		if o.pause == 0 && !errors.Is(err, context.Canceled) {
			o.log.Error("the event bus cannot reach its tables; trying again", "error", err)
		}
		o.pause = min(max(2*o.pause, firstPause), lastPause)
		o.until = time.Now().Add(o.pause)
	}
}
