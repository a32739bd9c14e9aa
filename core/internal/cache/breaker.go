package cache

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// breakTime is how long nobody asks a server that did not answer.
const breakTime = time.Second

// breaker spares callers the wait for a server that does not answer: after a failure nobody asks it for a second, then one caller
// does, and all others when that one was answered. It is safe for concurrent use.
type breaker struct {
	log hclog.Logger
	now func() time.Time

	mu     sync.Mutex // guards what follows
	open   bool       // the server did not answer
	until  time.Time  // from when on somebody may ask it again
	probed bool       // somebody does
}

// allow returns ErrUnavailable if the server is not to be asked. Who gets nil must call report or unknown.
func (b *breaker) allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return nil
	}
	if b.probed || b.now().Before(b.until) {
		return ErrUnavailable
	}
	b.probed = true
	return nil
}

// report tells how it went: err is why the server did not answer.
func (b *breaker) report(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probed = false
	switch {
	case err != nil:
		b.until = b.now().Add(breakTime)
		if !b.open {
			b.log.Error("the cache does not answer; modules go on without it", "error", err)
		}
	case b.open:
		b.log.Info("the cache answers again")
	}
	b.open = err != nil
}

// unknown tells that the caller did not wait long enough to know.
func (b *breaker) unknown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probed = false
}
