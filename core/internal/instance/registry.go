package instance

import (
	"context"
	"fmt"
	"sync"
	"time"
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

// Registry finds the instance that can be called now. The supervisor writes it; the gateway and the host read it. It is safe
// for concurrent use.
type Registry struct {
	mu      sync.RWMutex
	entries map[string]*entry
}

// entry is replaced, never changed; changed is closed when it is.
type entry struct {
	instance *Instance // nil: not ready
	notReady *NotReadyError
	changed  chan struct{}
}

// NewRegistry returns an empty Registry.
func NewRegistry() *Registry { return &Registry{entries: make(map[string]*entry)} }

// Put makes instance the one that callers of module get.
func (r *Registry) Put(module string, instance *Instance) {
	r.replace(module, &entry{instance: instance})
}

// Withdraw takes one instance out.
func (r *Registry) Withdraw(module string, instance *Instance, reason string, coming bool) {
	if r.get(module).instance == instance {
		r.Remove(module, reason, coming)
	}
}

// Remove makes module unavailable, for the reason given. Exchanges that already have the instance keep it.
func (r *Registry) Remove(module, reason string, coming bool) {
	r.replace(module, &entry{notReady: &NotReadyError{Module: module, Reason: reason, Coming: coming}})
}

func (r *Registry) replace(module string, next *entry) {
	next.changed = make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if before := r.entries[module]; before != nil {
		close(before.changed)
	}
	r.entries[module] = next
}

// Ready returns nil if module can be called now, else a *NotReadyError.
func (r *Registry) Ready(module string) error {
	if e := r.get(module); e.instance == nil {
		return e.notReady
	}
	return nil
}

func (r *Registry) get(module string) *entry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.entries[module]; e != nil {
		return e
	}
	return &entry{notReady: &NotReadyError{Module: module, Reason: "it is not installed or not enabled"}}
}

// Acquire returns an instance of module, and counts one exchange on it until its Release. If there is none but one is
// coming, Acquire waits for it, at most hold. The error is a *NotReadyError, or ctx's.
func (r *Registry) Acquire(ctx context.Context, module string, hold time.Duration) (*Instance, error) {
	e := r.get(module)
	if e.instance != nil && e.instance.acquire() {
		return e.instance, nil
	}
	return r.await(ctx, module, hold)
}

func (r *Registry) await(ctx context.Context, module string, hold time.Duration) (*Instance, error) {
	timeout := time.NewTimer(hold)
	defer timeout.Stop()
	for {
		e := r.get(module)
		switch {
		case e.instance != nil && e.instance.acquire():
			return e.instance, nil
		case e.instance == nil && !e.notReady.Coming:
			return nil, e.notReady
		}
		select {
		case <-e.changed:
		case <-timeout.C:
			return nil, &NotReadyError{Module: module, Reason: e.reason(), Coming: true}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (e *entry) reason() string {
	if e.notReady != nil {
		return e.notReady.Reason
	}
	return "it is stopping"
}
