package calls

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"google.golang.org/grpc/codes"

	"github.com/platformd/platformd/core/internal/passthrough"
)

const (
	// maxInProgress bounds the calls of one module that another one works on. Those that were held while it restarted all come
	// at once: they wait for a place, for at most surge.
	maxInProgress = 256
	surge         = time.Second
	// breakerFailures in a row suspend the calls for breakerDelay; then one is let through to see.
	breakerFailures = 20
	breakerDelay    = time.Second
	// budgetMost is how many retries there may be at once, budgetRate how many more each call earns.
	budgetMost = 100
	budgetRate = 0.2
)

type pairKey struct{ caller, callee string }

// pair is the calls of one module to another. What keeps a callee that fails from being called is the pair's own, so that no
// caller can cut off another: a caller decides how long a call may take, and with what it fails.
type pair struct {
	pairKey
	places  bulkhead.Bulkhead[any] // one for each attempt that is being made
	breaker circuitbreaker.CircuitBreaker[any]
	budget  budget
	metrics *pairMetrics

	inProgress             atomic.Int64
	retries, ended, failed atomic.Uint64
}

func (c *Calls) pair(caller, callee string) *pair {
	key := pairKey{caller, callee}
	c.mu.RLock()
	p := c.pairs[key]
	c.mu.RUnlock()
	if p != nil {
		return p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pairs[key]; p != nil {
		return p
	}
	p = &pair{pairKey: key, places: bulkhead.New[any](maxInProgress), metrics: c.metrics.pair(key)}
	p.budget.tokens = budgetMost
	p.breaker = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(breakerFailures).WithDelay(breakerDelay).WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			p.metrics.suspended(e.NewState != circuitbreaker.ClosedState)
			c.deps.Log.Warn("calls between modules", "caller", caller, "callee", callee, "breaker", e.NewState.String())
		}).Build()
	c.pairs[key] = p
	return p
}

// enter counts a call, or says why it is not passed on; leave ends it.
func (p *pair) enter() (why string, ok bool) {
	if !p.breaker.TryAcquirePermit() {
		return fmt.Sprintf("calls of module %s to %s are suspended for %s, since %d in a row failed (fix: see `platformd logs "+
			"--module %[2]s`)", p.caller, p.callee, p.breaker.RemainingDelay().Round(time.Millisecond), breakerFailures), false
	}
	p.inProgress.Add(1)
	p.metrics.inProgress.Inc()
	return "", true
}

// full is what a caller is told for whose call there is no place.
func (p *pair) full() passthrough.Next {
	what := fmt.Sprintf("module %s is working on %d calls of module %s, which is the limit (fix: make fewer at once)", p.callee,
		maxInProgress, p.caller)
	return passthrough.Next{Code: codes.ResourceExhausted, Message: what}
}

// leave ends what enter began. took is the call's time; blame is what its end says of the callee.
func (p *pair) leave(outcome passthrough.Outcome, took time.Duration, blame verdict) {
	p.inProgress.Add(-1)
	p.metrics.inProgress.Dec()
	p.ended.Add(1)
	if outcome.Code != codes.OK {
		p.failed.Add(1)
	}
	p.metrics.ended(outcome.Code, took)
	p.budget.earn()
	switch {
	case blame == well:
		p.breaker.RecordSuccess()
	case blame == ill, !p.breaker.IsClosed(): // a trial that proves nothing has not succeeded
		p.breaker.RecordFailure()
	}
}

// verdict is what the end of a call says of its callee.
type verdict int

const (
	unknown verdict = iota
	well
	ill
)

func (p *pair) status() Status {
	return Status{
		Caller: p.caller, Callee: p.callee, InProgress: int(p.inProgress.Load()), Breaker: p.breaker.State().String(),
		Calls: p.ended.Load(), Failed: p.failed.Load(), Retries: p.retries.Load(),
	}
}

// budget bounds retries in proportion to calls, so that they cannot multiply the load of a callee that is down.
type budget struct {
	mu     sync.Mutex
	tokens float64
}

func (b *budget) earn() {
	b.mu.Lock()
	b.tokens = min(budgetMost, b.tokens+budgetRate)
	b.mu.Unlock()
}

func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
