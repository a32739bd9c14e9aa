package wire

import (
	"runtime"
	"sync"
)

// together bounds what is sent at once, so that events of the greatest size are no more than MaxMessage.
const together = 32

// Sender sends what is ready at the same moment together. It never waits for more to come. It is safe for concurrent use.
type Sender[T any] struct {
	send func([]T)

	rest sync.WaitGroup

	mu      sync.Mutex // guards what follows
	waiting []T
	sending bool
}

// NewSender returns one that sends by send, of which one call runs at a time.
func NewSender[T any](send func([]T)) *Sender[T] { return &Sender[T]{send: send} }

// Add has one sent: when it returns, that has been done, or somebody else is about to.
func (s *Sender[T]) Add(one T) {
	s.mu.Lock()
	s.waiting = append(s.waiting, one)
	busy := s.sending
	s.sending = true
	s.mu.Unlock()
	if busy {
		return
	}
	runtime.Gosched() // lets those who have something ready add it
	if s.next() {
		s.rest.Go(func() { // ends when nothing waits: who adds one is not kept for all that others add
			for s.next() {
			}
		})
	}
}

// next sends what waits, as far as it goes together, and reports whether there is more.
func (s *Sender[T]) next() (more bool) {
	s.mu.Lock()
	n := min(len(s.waiting), together)
	batch := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	s.mu.Unlock()
	s.send(batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending = len(s.waiting) > 0
	return s.sending
}

// Wait returns when all that was added has been sent. Nothing may be added meanwhile.
func (s *Sender[T]) Wait() { s.rest.Wait() }
