package embedded

import (
	"errors"
	"maps"
	"slices"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
)

// deadLane stands for the letters of all subscriptions where the number of one is asked.
const deadLane = -1

// route is a subscription as a transaction sees it.
type route struct {
	ID      int64
	Kind    int
	Name    string
	Module  string
	Pattern string
	Ordered bool
	Owner   int64
}

// turn is one attempt at one transaction.
type turn struct {
	b   *Bus
	w   *work
	tx  *gorm.DB
	now int64 // by the server

	routes  map[int64]*route
	holder  int64
	renewed bool
	rows    []row    // to publish
	settles []settle // the work's, and those of what others left
	orphans []string // tails whose daemon is gone
	// touched has the lanes in which something is ready now, later when something will be.
	touched   map[int64]bool
	later     map[int64]int64
	passed    map[int64]bool // others have the first look at these lanes
	sweepNext int64
}

func newTurn(b *Bus, w *work) *turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range w.asks {
		a.got, a.next, a.sub = nil, 0, 0
	}
	return &turn{
		b: b, w: w, holder: b.holder, settles: slices.Clone(w.settles), routes: make(map[int64]*route),
		touched: make(map[int64]bool), later: make(map[int64]int64), passed: make(map[int64]bool),
	}
}

// run does everything, in an order in which what becomes ready can be taken at once.
func (t *turn) run() error {
	for _, step := range []func() error{
		t.begin, t.loadRoutes, t.renewIfDue, t.findUnknown, t.sweep, t.route, t.lockOrdered, t.settle, t.publish, t.dropTails,
		t.takeAll, t.notify, t.leave,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// begin keeps the subscriptions as they are for the length of the transaction, and reads the clock.
func (t *turn) begin() (err error) {
	t.now, err = begin(t.tx, start{exclusive: len(t.w.gone) > 0, unsynced: t.w.unsynced()})
	return err
}

func (t *turn) loadRoutes() error {
	var all []*route
	err := t.tx.Raw("SELECT id, kind, name, module, pattern, ordered, owner FROM bus_subscriptions").Scan(&all).Error
	if err != nil {
		return err
	}
	for _, r := range all {
		t.routes[r.ID] = r
	}
	return nil
}

// named returns the subscription of a name; nil: there is none.
func (t *turn) named(name string) *route {
	for _, r := range t.routes {
		if r.Name == name && r.Kind != removed {
			return r
		}
	}
	return nil
}

func (t *turn) renewIfDue() error {
	if t.w.renew {
		return t.renew()
	}
	return nil
}

// renew makes the lease last, anew if others have taken back what this daemon had: what is done with that has no effect.
func (t *turn) renew() error {
	if t.renewed {
		return nil
	}
	t.renewed = true
	expires := t.now + t.b.o.Lease.Microseconds()
	if t.holder != 0 {
		updated := t.tx.Exec("UPDATE bus_holders SET expires_at = ? WHERE id = ?", expires, t.holder)
		if updated.Error != nil || updated.RowsAffected == 1 {
			return updated.Error
		}
	}
	if t.b.server { // a server that crashes must not forget it, and give its number to another daemon
		if err := t.tx.Exec("SET LOCAL synchronous_commit = on").Error; err != nil {
			return err
		}
	}
	return t.tx.Raw("INSERT INTO bus_holders (daemon, expires_at) VALUES (?, ?) RETURNING id", t.b.o.Daemon, expires).
		Scan(&t.holder).Error
}

// findUnknown gives back what an earlier transaction took although it seemed to have failed, and at the end everything.
func (t *turn) findUnknown() error {
	if t.holder == 0 || !t.w.doubt && !t.w.last {
		return nil
	}
	found, err := t.heldBy("holder = ?", t.holder)
	if err != nil {
		return err
	}
	known := map[holding]bool{}
	for _, s := range t.w.settles {
		known[holding{s.deliveryID, s.holder}] = true
	}
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	for _, l := range found {
		if _, mine := t.b.held[l.holding]; !mine && !known[l.holding] {
			t.settles = append(t.settles, l.release())
		}
	}
	return nil
}

// sweep takes back what daemons had that are gone.
func (t *turn) sweep() error {
	if !t.w.sweep {
		return nil
	}
	err := t.tx.Exec("DELETE FROM bus_holders WHERE expires_at < ? AND id <> ?", t.now, t.holder).Error
	if err != nil {
		return err
	}
	const nobody = "NOT EXISTS (SELECT 1 FROM bus_holders h WHERE h.id = holder)"
	found, err := t.heldBy(nobody)
	if err != nil {
		return err
	}
	for _, l := range found {
		t.settles = append(t.settles, l.cutOff())
	}
	var rest []struct{ ID, ExpiresAt int64 }
	if err := t.tx.Raw("SELECT id, expires_at FROM bus_holders").Scan(&rest).Error; err != nil {
		return err
	}
	living := map[int64]bool{}
	for _, h := range rest {
		living[h.ID] = true
		if h.ID != t.holder && (t.sweepNext == 0 || h.ExpiresAt < t.sweepNext) {
			t.sweepNext = h.ExpiresAt
		}
	}
	for _, r := range t.routes {
		if r.Kind == tailing && !living[r.Owner] {
			t.orphans = append(t.orphans, r.Name)
		}
	}
	return nil
}

// heldBy finds what is held under a condition.
func (t *turn) heldBy(condition string, args ...any) (found []left, err error) {
	query := "SELECT seq, sub, holder, state, cuts FROM bus_deliveries WHERE state IN (2, 4) AND "
	rows, err := t.tx.Raw(query+condition, args...).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	for rows.Next() {
		var l left
		if err := rows.Scan(&l.seq, &l.sub, &l.holder, &l.state, &l.cuts); err != nil {
			return nil, err
		}
		found = append(found, l)
	}
	return found, nil
}

// row is an event to be written, and who wants it.
type row struct {
	*item
	targets []*route
}

// route finds out who wants what is published, and says what nobody wants.
func (t *turn) route() error {
	for _, p := range t.w.publishes {
		failed := maps.Clone(p.failed)
		for i := range p.items {
			it := &p.items[i]
			it.err = it.fault
			var targets []*route
			switch key := it.event.Key; {
			case it.err != nil:
			case key != "" && failed[key]:
				it.err = bus.ErrSkipped
			default:
				targets, it.err = t.wanting(it)
			}
			if it.err == nil {
				t.rows = append(t.rows, row{it, targets})
			} else if it.event.Key != "" {
				failed[it.event.Key] = true
			}
		}
	}
	return nil
}

func (t *turn) wanting(it *item) (targets []*route, err error) {
	err = bus.ErrUnroutable
	for _, r := range t.routes {
		switch {
		case r.Kind == removed:
		case it.only != "":
			if r.Name == it.only {
				return []*route{r}, nil
			}
		case bus.Matches(r.Pattern, it.event.Type):
			targets = append(targets, r)
			if r.Kind == wanted {
				err = nil
			}
		}
	}
	return targets, err
}

// touch notes that something of a lane is ready, or when it will be.
func (t *turn) touch(lane, due int64) {
	if due <= t.now {
		t.touched[lane] = true
	} else if at, ok := t.later[lane]; !ok || due < at {
		t.later[lane] = due
	}
}

// dropTails removes the subscriptions of who has looked. begin has seen to it that nobody publishes to them meanwhile.
func (t *turn) dropTails() error {
	for _, name := range t.w.gone {
		if r := t.named(name); r != nil && r.Kind == tailing {
			if err := removeDeliveries(t.tx, r.ID); err != nil {
				return err
			}
			if err := t.tx.Exec("DELETE FROM bus_subscriptions WHERE id = ?", r.ID).Error; err != nil {
				return err
			}
			delete(t.routes, r.ID)
		}
	}
	return nil
}

// leave ends the lease with the bus.
func (t *turn) leave() error {
	if !t.w.last || t.holder == 0 {
		return nil
	}
	return t.tx.Exec("DELETE FROM bus_holders WHERE id = ?", t.holder).Error
}
