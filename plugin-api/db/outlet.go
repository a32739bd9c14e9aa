package db

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/outbox"
)

// pluginName is under what GORM knows the outlet of a database.
const pluginName = "platformd:events"

const (
	// relayTimeout bounds one word to the core.
	relayTimeout = 5 * time.Second
	// relayPause is the least time between two of them: what is committed meanwhile is told of together.
	relayPause = 20 * time.Millisecond
	// tidyEvery is how often the inbox is looked through for what is old, and tidyMost how many pieces of it are removed then: the
	// one event that happens to be handled just then must not wait long.
	tidyEvery = time.Minute
	tidyMost  = 10
)

// outlet is what a database needs to know of events. It tells the core, in the background, that the outbox has something in it.
// The core looks there too, so that nothing is lost if it is not told.
type outlet struct {
	source string
	relay  func(context.Context) error
	log    hclog.Logger
	start  func() // run, which runs counts
	end    context.CancelFunc
	runs   sync.WaitGroup

	mu      sync.Mutex // guards the rest
	closed  bool
	running bool
	again   bool // something was committed since the core was told
	tidied  time.Time
}

// newOutlet returns one that outlives ctx: until close.
func newOutlet(ctx context.Context, source string, relay func(context.Context) error, log hclog.Logger) *outlet {
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	o := &outlet{source: source, relay: relay, log: log, end: end, tidied: time.Now()}
	o.start = func() { o.runs.Go(func() { o.run(alive) }) }
	return o
}

// Name implements gorm.Plugin.
func (o *outlet) Name() string { return pluginName }

// Initialize implements gorm.Plugin.
func (o *outlet) Initialize(*gorm.DB) error { return nil }

// wake has the core told soon. It does not wait.
func (o *outlet) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
	case o.running:
		o.again = true
	default:
		o.running = true
		o.start()
	}
}

func (o *outlet) run(alive context.Context) {
	for more := true; more; more = o.next() {
		o.tell(alive)
		pause := time.NewTimer(relayPause)
		select {
		case <-pause.C:
		case <-alive.Done():
			pause.Stop()
		}
	}
}

func (o *outlet) tell(alive context.Context) {
	ctx, cancel := context.WithTimeout(alive, relayTimeout)
	defer cancel()
	if err := o.relay(ctx); err != nil && alive.Err() == nil {
		o.log.Debug("the core was not told of events in the outbox; it finds them later", "error", err)
	}
}

// next reports whether something was committed meanwhile; if not, run has ended.
func (o *outlet) next() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running = o.again && !o.closed
	o.again = false
	return o.running
}

// close waits until nothing runs any more.
func (o *outlet) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	o.end()
	o.runs.Wait()
}

// tidy removes from the inbox what is old, now and then. An error changes nothing: there is a next time.
func (o *outlet) tidy(ctx context.Context, db *gorm.DB) {
	o.mu.Lock()
	due := time.Since(o.tidied) >= tidyEvery
	if due {
		o.tidied = time.Now()
	}
	o.mu.Unlock()
	if !due {
		return
	}
	for range tidyMost {
		n, err := outbox.Forget(ctx, db, db.NowFunc().Add(-keepInbox))
		if err != nil {
			o.log.Warn("old entries of the inbox were not removed", "error", err)
		}
		if err != nil || n == 0 {
			return
		}
	}
}
