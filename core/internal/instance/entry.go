package instance

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// shunnedWeight is more exchanges than any instance has.
const shunnedWeight = 1 << 32

// entry is what the registry knows of one module. It is replaced, never changed.
type entry struct {
	instances []*Instance
	notReady  *NotReadyError // set if there are no instances
	calm      time.Time      // from then on, callers beyond the places are turned away at once
	queue     *queue         // of all the module's entries
	changed   chan struct{}  // closed when the entry is replaced
}

func absent(module, reason string, coming bool) *entry {
	return &entry{notReady: &NotReadyError{Module: module, Reason: reason, Coming: coming}}
}

// callable tells whether any instance takes exchanges. A dead one may still be there: nobody has taken it out yet.
func (e *entry) callable() bool {
	for _, inst := range e.instances {
		if inst.callable() {
			return true
		}
	}
	return false
}

// why is what a caller is told of an entry of which nothing is callable.
func (e *entry) why(module string) *NotReadyError {
	if e.notReady != nil {
		return e.notReady
	}
	return &NotReadyError{Module: module, Reason: "it is stopping", Coming: true}
}

// take returns what the caller wants, or a *NotReadyError or *OverloadedError.
func (e *entry) take(want request) (*Instance, error) {
	if want.look {
		if !e.callable() {
			return nil, e.why(want.module)
		}
		return nil, nil
	}
	for range e.instances { // others take places at the same moment
		inst := e.leastBusy(want.place)
		if inst == nil {
			break
		}
		if inst.acquire(want.place) {
			return inst, nil
		}
	}
	if !want.place || !e.callable() {
		return nil, e.why(want.module)
	}
	return nil, &OverloadedError{Module: want.module, Limit: e.limit()}
}

// leastBusy returns the instance with the fewest exchanges, one of them by chance if there are several, or nil if none takes
// one more. One that is shunned comes last.
func (e *entry) leastBusy(place bool) (best *Instance) {
	n := len(e.instances)
	start := 0
	if n > 1 {
		start = rand.IntN(n) //nolint:gosec // spreads load, guards nothing
	}
	var least int64
	for i := range n {
		inst := e.instances[(start+i)%n]
		if !inst.callable() || place && inst.full() {
			continue
		}
		busy := inst.inflight.Load()
		if n > 1 && inst.isShunned() {
			busy += shunnedWeight
		}
		if best == nil || busy < least {
			best, least = inst, busy
		}
	}
	return best
}

// limit is how many exchanges the callable instances take together.
func (e *entry) limit() (sum int) {
	for _, inst := range e.instances {
		if inst.callable() {
			sum += inst.spec.Concurrency
		}
	}
	return sum
}

// worthWaiting tells whether what err, which take has returned, is about may be over soon.
func (e *entry) worthWaiting(err error) bool {
	var away *NotReadyError
	if errors.As(err, &away) {
		return away.Coming
	}
	return time.Now().Before(e.calm)
}

// until is how long to wait after err, if nothing happens.
func (e *entry) until(err error, deadline time.Time) time.Time {
	var full *OverloadedError
	if errors.As(err, &full) && e.calm.Before(deadline) {
		return e.calm
	}
	return deadline
}

// waiting counts callers.
type waiting = atomic.Int64

// queue is of those who wait for one module.
type queue struct {
	waiting waiting
	all     *waiting      // of the whole registry
	freed   chan struct{} // receives when a place has become free; holds one
}

func newQueue(all *waiting) *queue { return &queue{all: all, freed: make(chan struct{}, 1)} }

func (q *queue) enter() bool {
	if q.waiting.Add(1) > MaxWaiting {
		q.waiting.Add(-1)
		return false
	}
	q.all.Add(1)
	return true
}

// leave ends what enter began. Several places may have become free while only one is told so: each who was told, or just
// leaves, passes it on.
func (q *queue) leave() {
	q.all.Add(-1)
	q.waiting.Add(-1)
	q.free()
}

// free tells one of those who wait that there may be a place.
func (q *queue) free() {
	if q.waiting.Load() == 0 {
		return
	}
	select {
	case q.freed <- struct{}{}:
	default:
	}
}
