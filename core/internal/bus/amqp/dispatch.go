package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// work is one delivery, from when it came until it is settled.
type work struct {
	id, key string // what it is known by when it comes again, and while it is handled
	message amqp091.Delivery
	in      *intake // where it may be settled; changes when it comes again while it is handled
	note
	running bool
}

// fate is what handling a delivery has come to. The zero value is that it is settled.
type fate struct {
	again bool // it is tried again in its place, as next says
	next  note
	left  bool // it cannot be settled now, and comes again when its intake is lost
}

// lane is a queue of deliveries of which each is handled when the one before it is settled.
type lane struct {
	name  string // "" is one without successors
	works []*work
	timer *time.Timer // until the first may be handled
}

// dispatcher has deliveries handled, so many at once, those of one lane one after the other. It outlives the connections on which
// they come: what was lost while it was handled, and comes again, is not handled twice at the same time.
type dispatcher struct {
	limit  int
	lane   func(*amqp091.Delivery) string // "" is a lane of its own
	handle func(*work) fate
	memory *memory
	held   *held // may be nil

	mu     sync.Mutex
	lanes  map[string]*lane // that have a name
	live   map[*lane]struct{}
	moving map[string]*work // those that are handled, by id
	ready  []*lane
	ended  bool
	// consuming is whether the broker has it for a consumer.
	consuming bool
	busy      sync.WaitGroup
}

func newDispatcher(limit int, m *memory) *dispatcher {
	return &dispatcher{
		limit: max(1, limit), memory: m,
		lanes: map[string]*lane{}, live: map[*lane]struct{}{}, moving: map[string]*work{},
	}
}

// arrive takes a delivery. Before the first of an intake it learns what others knew.
func (d *dispatcher) arrive(ctx context.Context, in *intake, m *amqp091.Delivery) {
	if d.held != nil && !in.informed {
		if in.informed = d.inform(ctx, in); !in.informed {
			return // it comes again, on another intake
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	id := identity(m)
	w := &work{id: id, key: id, message: *m, in: in, note: note{attempt: attempt(m)}}
	if old := d.moving[w.id]; old != nil && old.in.isLost() {
		old.in, old.message.DeliveryTag = in, m.DeliveryTag
		return
	}
	if n, known := d.memory.recall(w.id); known {
		if n.settled && in.ack(m.DeliveryTag, func() { d.memory.keep(id, n) }) {
			return
		}
		w.note = n
	}
	l := d.laneOf(d.lane(m))
	l.works = append(l.works, w)
	if len(l.works) == 1 {
		d.schedule(l)
	}
}

// inform learns what other consumers wrote down before what they had came to this one. It reports whether it could.
func (d *dispatcher) inform(ctx context.Context, in *intake) bool {
	for !in.isLost() && ctx.Err() == nil {
		notes, err := within(ctx, d.held.bus, func() (map[string]note, error) { return d.held.read(in.session) }, nil)
		if err == nil {
			for id, n := range notes {
				d.memory.learn(id, n)
			}
			return true
		}
		if isNotFound(err) { // it was deleted, with what stood in it
			return true
		}
		d.held.bus.o.Log.Debug("trying again", "error", err)
		rest(ctx, firstPause)
	}
	return false
}

func (d *dispatcher) laneOf(name string) *lane {
	if l := d.lanes[name]; l != nil {
		return l
	}
	l := &lane{name: name}
	d.live[l] = struct{}{}
	if name != "" {
		d.lanes[name] = l
	}
	return l
}

// schedule has the first of a lane handled, when it is due.
func (d *dispatcher) schedule(l *lane) {
	if len(l.works) == 0 {
		delete(d.live, l)
		delete(d.lanes, l.name)
		return
	}
	if l.works[0].running {
		return
	}
	if after := time.Until(l.works[0].due); after > 0 {
		l.timer = time.AfterFunc(after, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if l.timer != nil {
				l.timer = nil
				d.schedule(l)
			}
		})
		return
	}
	d.ready = append(d.ready, l)
	d.pump()
}

// pump begins with what is ready, as far as there is room.
func (d *dispatcher) pump() {
	for !d.ended && len(d.ready) > 0 && len(d.moving) < d.limit {
		l := d.ready[0]
		d.ready = d.ready[1:]
		if len(l.works) == 0 || l.works[0].running || l.works[0].in.isLost() { // lose is about to forget it
			continue
		}
		w := l.works[0]
		for d.moving[w.key] != nil { // published twice under one name
			w.key += "'"
		}
		w.running = true
		d.moving[w.key] = w
		d.busy.Go(func() { d.run(l, w) })
	}
}

func (d *dispatcher) run(l *lane, w *work) {
	f := d.handle(w)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.moving, w.key)
	w.running = false
	switch {
	case f.left, f.again:
		if f.again {
			w.note = f.next
		}
		if w.in.isLost() { // else it stays where it is; it may have come again meanwhile
			d.forsake(w)
			l.works = l.works[1:]
		}
	default:
		if w.settled = true; !w.in.ack(w.message.DeliveryTag, func() { d.forsake(w) }) {
			d.forsake(w)
		} else if d.held != nil && w.attempt > 1 {
			d.held.settled(w.id)
		}
		l.works = l.works[1:]
	}
	d.schedule(l)
	d.pump()
}

// lost tells whether a delivery that is being handled comes again whatever becomes of it.
func (d *dispatcher) lost(w *work) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return w.in.isLost()
}

// forsake remembers what is known of a delivery that cannot be settled, for when it comes again.
func (d *dispatcher) forsake(w *work) {
	if w.settled || w.attempt > attempt(&w.message) {
		d.memory.keep(w.id, w.note)
	}
}

// lose forgets what came on an intake and waits. What is being handled goes on.
func (d *dispatcher) lose(in *intake) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready, d.consuming = nil, false
	for l := range d.live {
		if l.timer != nil {
			l.timer.Stop()
			l.timer = nil
		}
		var kept []*work
		for _, w := range l.works {
			if w.running || w.in != in {
				kept = append(kept, w)
				continue
			}
			d.forsake(w)
		}
		l.works = kept
		d.schedule(l)
	}
}

// end waits for what is being handled, and begins nothing more.
func (d *dispatcher) end() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.busy.Wait()
}

// idle takes out what has come and is not being handled.
func (d *dispatcher) idle() (waiting []*work) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.live {
		var kept []*work
		for _, w := range l.works {
			if w.running {
				kept = append(kept, w)
			} else {
				waiting = append(waiting, w)
			}
		}
		l.works = kept
	}
	d.ready = nil
	return waiting
}

// count adds what has come and is not settled.
func (d *dispatcher) count(all *had) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.consuming {
		all.Consumers++
	}
	for l := range d.live {
		for _, w := range l.works {
			switch {
			case w.running:
				all.InFlight++
			case w.in.isLost(): // it is on its way back
			case w.due.After(now):
				all.Waiting++
			default:
				all.Ready++
			}
		}
	}
}

// begin says that the broker has a consumer from now on.
func (d *dispatcher) begin(*intake) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.consuming = true
}

// note is what is known of a delivery besides what the broker knows.
type note struct {
	attempt int       // the next one's number
	due     time.Time // of the next one
	settled bool      // it has had its effect, and the broker was not told
}

// memory keeps notes of one subscription's deliveries that come again, over connections and calls of Consume. It has no use for
// more than can be unsettled at once; of more, which another daemon will have got, it forgets any.
type memory struct {
	mu    sync.Mutex
	notes map[string]note
}

const mostNotes = 4 * orderedWindow

func newMemory() *memory { return &memory{notes: map[string]note{}} }

func (m *memory) keep(id string, n note) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.notes) >= mostNotes {
		for other := range m.notes {
			delete(m.notes, other)
			break
		}
	}
	m.notes[id] = n
}

// learn is keep for what another one wrote down, which may know less.
func (m *memory) learn(id string, n note) {
	m.mu.Lock()
	known, ok := m.notes[id]
	m.mu.Unlock()
	if !ok || !known.settled && known.attempt < n.attempt {
		m.keep(id, n)
	}
}

func (m *memory) recall(id string) (note, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.notes[id]
	delete(m.notes, id)
	return n, ok
}
