package http1

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// watch ties one exchange to its context and to the patience with its client: when the context ends, whatever the
// exchange is blocked in must end too. The zero value is ready for reset.
type watch struct {
	w    http.ResponseWriter
	idle time.Duration
	// shared is set on HTTP/2, where a deadline that passes resets the stream even if nobody waits for it; so it must not
	// outlive the read or write it is for.
	shared bool
	// ended receives a value when expire is done.
	ended chan struct{}

	mu      sync.Mutex
	conn    *conn
	reading bool // the client's body may be read
	gaveUp  bool // it was not read to its end, and will not be
	writing bool // the head of the answer has been written: what comes later may be cut off
	expired bool
	stalls  time.Time // when the client that a read waits for has been idle for too long
	fault   error     // how the client's side of the body failed, if it did
}

func (s *watch) reset(w http.ResponseWriter, r *http.Request, idle time.Duration) {
	s.w, s.idle, s.shared = w, idle, r.ProtoMajor >= 2
	s.conn, s.writing, s.expired, s.fault = nil, false, false, nil
	s.reading, s.gaveUp = framingOf(r) != noBody, false
}

// expire is called when the request's context ends. Closing the module's connection cancels its handler's context.
func (s *watch) expire() {
	s.mu.Lock()
	s.expired = true
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.stopReading()
	if s.writing {
		_ = http.NewResponseController(s.w).SetWriteDeadline(past())
	}
	s.mu.Unlock()
	s.ended <- struct{}{}
}

// attach makes c the connection that expire closes. It reports false if it is too late for that.
func (s *watch) attach(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
	return !s.expired
}

// giveUpBody ends a read of the client's body that is under way and every later one.
func (s *watch) giveUpBody() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopReading()
}

func (s *watch) stopReading() {
	if s.reading {
		s.reading, s.gaveUp = false, true
		_ = http.NewResponseController(s.w).SetReadDeadline(past())
	}
}

// read reads from the client's body, no longer than the client may be idle. A body that failed once is not read again.
func (s *watch) read(body io.Reader, buf []byte) (int, error) {
	if !s.armRead() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := body.Read(buf)
	s.disarmRead(err)
	return n, err
}

func (s *watch) armRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading && s.idle > 0 {
		s.stalls = time.Now().Add(s.idle)
		_ = http.NewResponseController(s.w).SetReadDeadline(s.stalls)
	}
	return s.reading
}

func (s *watch) disarmRead(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case atEnd(err):
		s.endRead()
		s.reading = false
	case err == nil:
		if s.shared {
			s.endRead()
		}
	default:
		s.blame(err)
		s.stopReading()
	}
}

// blame notes that the client's side of the body failed, unless it was stopReading that made a read fail. Both may be: on a
// read that times out, net/http itself ends the context.
func (s *watch) blame(err error) {
	stopped := !s.reading && errors.Is(err, os.ErrDeadlineExceeded)
	stalled := s.idle > 0 && !time.Now().Before(s.stalls)
	if s.fault == nil && (!stopped || stalled) {
		s.fault = err
	}
}

// badBody notes a fault of the body that reading it did not show.
func (s *watch) badBody(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.fault = err
	}
	return err
}

// bodyFault returns how the client's side of the body failed, if it did.
func (s *watch) bodyFault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

func (s *watch) endRead() {
	if s.reading && s.idle > 0 {
		_ = http.NewResponseController(s.w).SetReadDeadline(time.Time{})
	}
}

// beginAnswer is called before the head is written. It reports false if the context has ended: the caller must not write.
func (s *watch) beginAnswer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = !s.expired
	return s.writing
}

// write writes to the client, which must take it before it has been idle for too long. The deadline is left in place on
// HTTP/1: net/http clears it after it has flushed what it still holds.
func (s *watch) write(p []byte, flush bool) error {
	s.armWrite()
	_, err := s.w.Write(p)
	if err == nil && flush {
		err = http.NewResponseController(s.w).Flush()
	}
	s.disarmWrite()
	return err
}

func (s *watch) flush() error {
	s.armWrite()
	err := http.NewResponseController(s.w).Flush()
	s.disarmWrite()
	return err
}

func (s *watch) armWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle > 0 && !s.expired {
		_ = http.NewResponseController(s.w).SetWriteDeadline(time.Now().Add(s.idle))
	}
}

func (s *watch) disarmWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared && s.idle > 0 && !s.expired {
		_ = http.NewResponseController(s.w).SetWriteDeadline(time.Time{})
	}
}

// past is a deadline that has passed.
func past() time.Time { return time.Unix(1, 0) }
