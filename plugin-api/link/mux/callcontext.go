package mux

import (
	"context"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
)

// callContext is the context of one exchange. It does what context.WithTimeout around link.With would, but makes its channel
// and its timer only if somebody waits for them: most handlers do not.
type callContext struct {
	call     link.Call
	deadline time.Time // zero: none

	mu    sync.Mutex
	done  chan struct{}
	timer *time.Timer
	err   error
	after map[int]func()
	last  int
}

func (c *callContext) init(call link.Call) {
	c.call = call
	if call.Timeout > 0 {
		c.deadline = time.Now().Add(call.Timeout)
	}
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch()
	return c.done
}

// watch makes the context end by itself at its deadline.
func (c *callContext) watch() {
	if c.done != nil {
		return
	}
	c.done = make(chan struct{})
	switch {
	case c.err != nil:
		close(c.done)
	case !c.deadline.IsZero():
		c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.cancel(context.DeadlineExceeded) })
	}
}

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late() {
		c.end(context.DeadlineExceeded) // its timer, if there is one, would do so this moment
	}
	return c.err
}

// Value implements context.Context.
func (c *callContext) Value(key any) any { return link.Value(&c.call, key) }

// AfterFunc calls f in a goroutine of its own once the context has ended. Package context looks for this method: without it,
// each context derived from this one would need a goroutine.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	c.watch()
	if c.after == nil {
		c.after = map[int]func(){}
	}
	c.last++
	id := c.last
	c.after[id] = f
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, pending := c.after[id]
		delete(c.after, id)
		return pending
	}
}

// cancel ends the context, once. Whoever comes after the deadline comes too late.
func (c *callContext) cancel(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late() {
		err = context.DeadlineExceeded
	}
	c.end(err)
}

func (c *callContext) late() bool {
	return c.err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

func (c *callContext) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, f := range c.after {
		go f()
	}
	c.after = nil
}
