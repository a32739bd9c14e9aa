package instance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// MaxWaiting bounds the callers that wait for one module.
	MaxWaiting = 1024
	// surge is how long after a change of a module's instances its callers wait for a place instead of being turned away:
	// those that were held all come at once.
	surge = time.Second
	// notInstalled is why a module that nobody has heard of cannot be called.
	notInstalled = "it is not installed or not enabled"
)

// NotReadyError says why a module cannot be called now.
type NotReadyError struct {
	Module string
	// Reason is for people: "restarting after signal killed".
	Reason string
	// Coming says that an instance is expected soon, so that waiting makes sense.
	Coming bool
}

// Error implements error.
func (e *NotReadyError) Error() string {
	return fmt.Sprintf("module %s is not ready: %s", e.Module, e.Reason)
}

// OverloadedError says that a module has all the callers that it takes.
type OverloadedError struct {
	Module string
	// Waiting tells which limit is reached: MaxWaiting, or else the Spec.Concurrency of all instances together, Limit.
	Waiting bool
	Limit   int
}

// Error implements error.
func (e *OverloadedError) Error() string {
	if e.Waiting {
		return fmt.Sprintf("module %s is not ready, and %d requests wait for it already", e.Module, e.Limit)
	}
	return fmt.Sprintf("module %s has %d requests in progress, which is its limit (runtime.concurrency)", e.Module, e.Limit)
}

// Registry finds the instances that can be called now. The supervisor writes it; the gateway and the host read it. It is
// safe for concurrent use.
type Registry struct {
	mu      sync.RWMutex
	entries map[string]*entry
	waiting waiting
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry { return &Registry{entries: make(map[string]*entry)} }

// Put adds inst to those that callers of module get.
func (r *Registry) Put(module string, inst *Instance) {
	r.replace(module, func(before *entry) *entry {
		if slices.Contains(before.instances, inst) {
			return before
		}
		inst.queue.Store(before.queue)
		return &entry{instances: append(slices.Clone(before.instances), inst)}
	})
}

// Withdraw takes inst out. If it was the last one, module is not ready, for the reason given; coming says that the next one
// is expected soon. Exchanges that already have the instance keep it.
func (r *Registry) Withdraw(module string, inst *Instance, reason string, coming bool) {
	r.replace(module, func(before *entry) *entry {
		left := slices.DeleteFunc(slices.Clone(before.instances), func(other *Instance) bool { return other == inst })
		switch {
		case len(left) == len(before.instances):
			return before
		case len(left) == 0:
			return absent(module, reason, coming)
		}
		return &entry{instances: left}
	})
}

// Switch makes instances those that callers of module get, in place of all others, and calls also in between: whoever has seen
// what that changes gets none of the others. also must not wait, nor use the Registry. Exchanges that already have an instance
// keep it.
func (r *Registry) Switch(module string, instances []*Instance, also func()) {
	r.replace(module, func(before *entry) *entry {
		for _, inst := range instances {
			inst.queue.Store(before.queue)
		}
		also()
		return &entry{instances: slices.Clone(instances)}
	})
}

// Forget takes module out: it is not installed any more.
func (r *Registry) Forget(module string) { r.Remove(module, notInstalled, false) }

// Remove takes all instances of module out, for the reason given; coming says that the next one is expected soon. Exchanges
// that already have an instance keep it.
func (r *Registry) Remove(module, reason string, coming bool) {
	r.replace(module, func(*entry) *entry { return absent(module, reason, coming) })
}

// replace puts what next makes of the module's entry in its place, and wakes all who wait for a change.
func (r *Registry) replace(module string, next func(before *entry) *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, known := r.entries[module]
	if !known {
		before = &entry{queue: newQueue(&r.waiting), changed: make(chan struct{})}
	}
	after := next(before)
	if after == before {
		return
	}
	after.queue, after.changed, after.calm = before.queue, make(chan struct{}), time.Now().Add(surge)
	r.entries[module] = after
	close(before.changed)
}

func (r *Registry) get(module string) *entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.entries[module]; e != nil {
		return e
	}
	return absent(module, notInstalled, false)
}

// Ready returns nil if module can be called now, else a *NotReadyError.
func (r *Registry) Ready(module string) error {
	e := r.get(module)
	if e.callable() {
		return nil
	}
	return e.why(module)
}

// State tells whether module can be called now, and returns what is closed when that may have changed.
func (r *Registry) State(module string) (changed <-chan struct{}, callable bool) {
	e := r.known(module)
	return e.changed, e.callable()
}

// Callable returns how many instances of module can be called now, and what is closed when that may have changed.
func (r *Registry) Callable(module string) (changed <-chan struct{}, instances int) {
	e := r.known(module)
	for _, inst := range e.instances {
		if inst.callable() {
			instances++
		}
	}
	return e.changed, instances
}

// AwaitGone returns when module cannot be called, and is not expected to be soon, or ctx has ended.
func (r *Registry) AwaitGone(ctx context.Context, module string) {
	for {
		e := r.known(module)
		if e.notReady != nil && !e.notReady.Coming {
			return
		}
		select {
		case <-e.changed:
		case <-ctx.Done():
			return
		}
	}
}

// known is get for who waits for a change: a module that nobody has heard of may come.
func (r *Registry) known(module string) *entry {
	if e := r.get(module); e.changed != nil {
		return e
	}
	r.replace(module, func(before *entry) *entry {
		if len(before.instances) > 0 || before.notReady != nil {
			return before
		}
		return absent(module, notInstalled, false)
	})
	return r.get(module)
}

// Waiting is how many callers wait now, for whatever module.
func (r *Registry) Waiting() int { return int(r.waiting.Load()) }

// Acquire returns the least busy instance of module, and counts one exchange on it until its Release. If there is none but
// one is coming, Acquire waits for it, at most hold, among at most MaxWaiting callers. The error is a *NotReadyError, an
// *OverloadedError, or ctx's.
func (r *Registry) Acquire(ctx context.Context, module string, hold time.Duration) (*Instance, error) {
	return r.acquire(ctx, request{module: module, hold: hold, place: true})
}

// AcquireStream is Acquire for an exchange that only an end from outside ends: it takes none of the places that
// Spec.Concurrency bounds. It is ended by ReleaseStream.
func (r *Registry) AcquireStream(ctx context.Context, module string, hold time.Duration) (*Instance, error) {
	return r.acquire(ctx, request{module: module, hold: hold})
}

// Await waits as Acquire does, until module can be called.
func (r *Registry) Await(ctx context.Context, module string, hold time.Duration) error {
	_, err := r.acquire(ctx, request{module: module, hold: hold, look: true})
	return err
}

// request is what a caller wants.
type request struct {
	module string
	hold   time.Duration
	place  bool // the exchange takes one of the places
	look   bool // the caller wants no instance, just to know that there is one
}

// acquire does without timers and memory of its own where nothing is to be waited for.
func (r *Registry) acquire(ctx context.Context, want request) (*Instance, error) {
	e := r.get(want.module)
	inst, err := e.take(want)
	if err == nil || want.hold <= 0 || !e.worthWaiting(err) {
		return inst, err
	}
	if !e.queue.enter() {
		return nil, &OverloadedError{Module: want.module, Waiting: true, Limit: MaxWaiting}
	}
	defer e.queue.leave()
	return r.await(ctx, want)
}

func (r *Registry) await(ctx context.Context, want request) (*Instance, error) {
	deadline := time.Now().Add(want.hold)
	timer := time.NewTimer(want.hold)
	defer timer.Stop()
	for {
		e := r.get(want.module)
		inst, err := e.take(want)
		if err == nil || !e.worthWaiting(err) || !time.Now().Before(deadline) {
			return inst, err
		}
		var freed chan struct{}
		if want.place {
			freed = e.queue.freed
		}
		timer.Reset(time.Until(e.until(err, deadline)))
		select {
		case <-e.changed:
		case <-freed:
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
