package amqp

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostUnwritten bounds what a socket keeps until it is written, in bytes, beyond one write.
	mostUnwritten = 128 << 10
	// lull is how long nothing has been written when somebody writes alone.
	lull = 200 * time.Microsecond
)

// socket bounds how long a peer may let one wait. The library sets a bound for reading only after it has read something, and none
// for writing.
//
// It also writes together what the library writes at the same moment: each message and each acknowledgement by itself would cost
// both ends a system call.
type socket struct {
	net.Conn
	silence time.Duration
	open    atomic.Bool // the handshake, which has a deadline of its own, is over
	heard   time.Time   // when the deadline for reading was set last; only who reads knows it

	mu        sync.Mutex // guards the rest
	err       error      // why it is of no use any more
	unwritten []byte
	writing   bool
	written   time.Time // the last of what came
	room      sync.Cond // told when less is unwritten
}

func newSocket(conn net.Conn, silence time.Duration) *socket {
	s := &socket{Conn: conn, silence: silence}
	s.room.L = &s.mu
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if now := time.Now(); s.open.Load() && now.Sub(s.heard) > s.silence/8 { // to set it costs as much as to read little
		if err := s.SetReadDeadline(now.Add(s.silence)); err != nil {
			return 0, err
		}
		s.heard = now
	}
	return s.Conn.Read(p)
}

// Write implements net.Conn. Once the connection is open, p is written soon after; if that fails, the socket is closed.
func (s *socket) Write(p []byte) (int, error) {
	if !s.open.Load() {
		return s.Conn.Write(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing && len(s.unwritten) > mostUnwritten {
		s.room.Wait() // no longer than one write takes, which has a deadline
	}
	if s.err != nil {
		return 0, s.err
	}
	now := time.Now()
	quiet := now.Sub(s.written) > lull
	s.written = now
	if quiet && !s.writing {
		return s.writeNow(p)
	}
	s.unwritten = append(s.unwritten, p...)
	if !s.writing {
		s.writing = true
		go s.writeAll() // ends when all is written
	}
	return len(p), nil
}

// writeNow writes for a lone caller, whom it saves the switch to another goroutine. s.mu is held, here and after.
func (s *socket) writeNow(p []byte) (int, error) {
	s.writing = true
	s.mu.Unlock()
	n, err := s.writeWithin(p)
	s.mu.Lock()
	if s.writing = len(s.unwritten) > 0; s.writing {
		go s.writeAll()
	}
	return n, err
}

// writeWithin writes within a deadline. When it fails, the library hears of it by reading.
func (s *socket) writeWithin(p []byte) (n int, err error) {
	if err = s.SetWriteDeadline(time.Now().Add(writeWait)); err == nil {
		n, err = s.Conn.Write(p)
	}
	if err != nil {
		s.blame(err)
		_ = s.Close()
	}
	return n, err
}

// writeAll writes what there is, until there is nothing more.
func (s *socket) writeAll() {
	runtime.Gosched() // lets those who have something ready write it
	var spare []byte
	for {
		s.mu.Lock()
		if len(s.unwritten) == 0 || s.err != nil {
			s.writing = false
			s.room.Broadcast()
			s.mu.Unlock()
			return
		}
		batch := s.unwritten
		s.unwritten = spare[:0]
		s.room.Broadcast()
		s.mu.Unlock()
		_, _ = s.writeWithin(batch) // s.err says it
		spare = batch
	}
}

// blame says why the connection is of no use any more, unless that is known.
func (s *socket) blame(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *socket) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return errLost
	}
	return s.err
}
