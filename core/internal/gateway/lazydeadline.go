package gateway

import (
	"context"
	"sync"
	"time"
)

// lazyDeadline is a context whose deadline is set when somebody asks for it: what is answered from memory asks for none, and a
// timer would be half of what it costs.
type lazyDeadline struct {
	context.Context // has the values

	limit  time.Duration // from when it is first asked for
	once   sync.Once
	made   context.Context
	cancel context.CancelFunc
}

func (l *lazyDeadline) get() context.Context {
	l.once.Do(func() { l.made, l.cancel = context.WithTimeout(l.Context, l.limit) })
	return l.made
}

// end cancels the context, also for who asks for it later.
func (l *lazyDeadline) end() {
	asked := true
	l.once.Do(func() { asked, l.made = false, over{l.Context} })
	if asked {
		l.cancel()
	}
}

// Deadline implements context.Context.
func (l *lazyDeadline) Deadline() (time.Time, bool) { return l.get().Deadline() }

// Done implements context.Context.
func (l *lazyDeadline) Done() <-chan struct{} { return l.get().Done() }

// Err implements context.Context.
func (l *lazyDeadline) Err() error { return l.get().Err() }

// over is what is left of a context that nobody has asked for in time.
type over struct{ context.Context }

// Done implements context.Context.
func (over) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// Err implements context.Context.
func (over) Err() error { return context.Canceled }
