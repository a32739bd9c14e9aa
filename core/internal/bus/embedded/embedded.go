// Package embedded is the event bus that needs no server: tables in the core's database. An event is stored once, and a delivery
// for each subscription that wants it; it goes with the last of them.
//
// One goroutine per daemon writes. Whatever has come together while one transaction ran goes into the next: events that are
// published, verdicts, and the taking of what consumers have room for. So a commit, which is what costs, serves many, and the one
// writer of SQLite is held rarely and shortly. Nothing is asked of the database while nothing happens: publishers wake consumers,
// within a daemon directly and between daemons with PostgreSQL's NOTIFY, and timers wake for what is to be tried again. As a
// notification can be missed, each daemon on PostgreSQL looks every few seconds, too.
//
// A daemon holds deliveries under a lease that it renews as long as it has any. When it does not, another daemon takes them back.
// Times are those of the database's server, or of the one daemon that has the file.
//
// Floor 2, in the room bus. It must not know who publishes or consumes.
package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// Options say how the bus is kept. The zero value is usable.
type Options struct {
	// Daemon tells this daemon from others at the same database (storage.Storage.DaemonID). What it left when it was killed is
	// free at once when it is back; without it, when the lease has ended.
	Daemon string
	// Lease is how long what a daemon holds is its own after it was last heard of; 0 = 30 s.
	Lease time.Duration
	// Log is told of outages; nil discards it.
	Log hclog.Logger

	// look is how soon a missed notification is made good; 0 = 3 s.
	look time.Duration
	// hub joins several buses over one SQLite file, which the tests have.
	hub *hub
}

const (
	defaultLease = 30 * time.Second
	defaultLook  = 3 * time.Second
	// callWait bounds a call, turnWait one transaction, closeWait the last ones of a bus that is closed.
	callWait  = 30 * time.Second
	turnWait  = 10 * time.Second
	closeWait = 5 * time.Second
	// The pauses of an outage, each twice the one before.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// Bus implements bus.Bus.
type Bus struct {
	o      Options
	db     *gorm.DB
	server bool   // PostgreSQL
	origin string // tells it from other daemons in notifications

	kick  chan struct{}   // has a value when there may be something to write
	alive context.Context // until it is killed, or has nothing more to do
	kill  context.CancelFunc
	open  context.Context // until Close is called
	shut  context.CancelFunc

	running sync.WaitGroup // the writer and the listener
	calls   sync.WaitGroup // what others have begun

	mu        sync.Mutex // guards what follows
	closed    bool
	publishes []*publication
	settles   []settle
	gone      []string // tails that have ended
	consumers map[*consumer]struct{}
	held      map[holding]struct{}
	holder    int64 // this daemon's row in bus_holders; 0: none yet
	due       schedule
}

// schedule is when the writer has something to do of itself; a zero time is never.
type schedule struct {
	settle time.Time // at the latest
	renew  time.Time // of the lease
	sweep  time.Time // of what other daemons left
	look   time.Time // for what nobody told of
	doubt  bool      // whether the database holds something for this daemon that it does not know of
}

var _ bus.Bus = (*Bus)(nil)

// New returns the bus over the core's database, whose tables it makes or brings up to date. It must be closed, before db is.
func New(ctx context.Context, db *gorm.DB, o Options) (*Bus, error) {
	if err := storage.MigrateCore(db.WithContext(ctx), "bus", steps()...); err != nil {
		return nil, err
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.look <= 0 {
		o.look = defaultLook
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	b := &Bus{
		o: o, db: db, server: db.Name() == backend.PostgreSQL, origin: uuid.NewString(),
		kick:      make(chan struct{}, 1),
		consumers: make(map[*consumer]struct{}), held: make(map[holding]struct{}),
	}
	if o.Daemon != "" { // what it left when it was killed
		err := db.WithContext(ctx).Exec("UPDATE bus_holders SET expires_at = 0 WHERE daemon = ?", o.Daemon).Error
		if err != nil {
			return nil, fmt.Errorf("take back what the event bus had: %w", err)
		}
	}
	b.alive, b.kill = context.WithCancel(context.WithoutCancel(ctx))
	b.open, b.shut = context.WithCancel(b.alive)
	b.due.sweep = time.Now()
	if b.server {
		b.due.look = time.Now().Add(o.look)
		b.running.Go(b.listen)
	}
	if o.hub != nil {
		o.hub.join(b)
	}
	b.running.Go(b.write) // from now on what it uses is locked
	return b, nil
}

// wake has the writer see what there is to do.
func (b *Bus) wake() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Close implements bus.Bus. What has begun is finished, and the rest is given back.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.closed = true
	for _, p := range b.publishes {
		p.end(bus.ErrClosed)
	}
	b.publishes = nil
	b.mu.Unlock()
	b.shut()
	b.wake()
	b.calls.Wait()
	b.running.Wait()
	b.kill()
	if b.o.hub != nil {
		b.o.hub.leave(b)
	}
	return nil
}

// onClose calls end when the bus is closed, unless it is stopped before.
func (b *Bus) onClose(end func()) (stop func() bool) { return context.AfterFunc(b.open, end) }

// call runs one that asks the database, beside the writer, and returns what the caller gets.
func (b *Bus) call(ctx context.Context, run func(context.Context) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return bus.ErrClosed
	}
	b.calls.Add(1)
	b.mu.Unlock()
	defer b.calls.Done()
	bounded, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	defer b.onClose(cancel)()
	err := run(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case b.open.Err() != nil:
		return bus.ErrClosed
	}
	return failure(err)
}
