package hop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
)

// Watch ties one exchange to its context and to the patience with its client: when the context ends, whatever the
// exchange is blocked in must end too. One goroutine calls Begin and End and writes the answer, one at a time reads the
// body; every other method is safe for concurrent use. A Watch may be used again after End.
type Watch struct {
	w    http.ResponseWriter
	idle time.Duration
	// shared is set on HTTP/2, where a deadline that passes resets the stream even if nobody waits for it; so it must not
	// outlive the read or write it is for.
	shared bool
	// release lets go of the context; nil if none is heeded.
	release func() bool
	ended   chan struct{} // receives a value when expire is done
	cut     bool          // the context ended while it was watched

	mu      sync.Mutex
	module  io.Closer // ends the module's part of the exchange
	reading bool      // the client's body may be read
	gaveUp  bool      // it was not read to its end, and will not be
	writing bool      // the head of the answer has been written: what comes later may be cut off
	expired bool
	stalls  time.Time // when the client that a read waits for has been idle for too long
	fault   error     // how the client's side of the body failed, if it did
}

// NewWatch returns a Watch that waits for Begin.
func NewWatch() *Watch { return &Watch{ended: make(chan struct{}, 1)} }

// Begin begins an exchange of r, whose answer goes to w. idle, if positive, is how long the client may neither send of the
// body that Read waits for, nor take of what Write writes.
func (s *Watch) Begin(w http.ResponseWriter, r *http.Request, idle time.Duration) {
	s.w, s.idle, s.shared = w, idle, r.ProtoMajor >= 2
	s.module, s.writing, s.expired, s.fault = nil, false, false, nil
	s.reading, s.gaveUp = FramingOf(r) != NoBody, false
	s.cut = false
}

// Heed makes the end of ctx end the exchange.
func (s *Watch) Heed(ctx context.Context) { s.release = context.AfterFunc(ctx, s.expire) }

// Unwatch ends what Heed began, if it did. It may be called more than once. cut says that the context had ended before.
func (s *Watch) Unwatch() (cut bool) {
	if s.release == nil {
		return s.cut
	}
	if s.cut = !s.release(); s.cut {
		<-s.ended
	}
	s.release = nil
	return s.cut
}

// End ends what Begin began, and forgets the request. It returns what Unwatch does.
func (s *Watch) End() (cut bool) {
	cut = s.Unwatch()
	if s.gaveUp {
		RefuseRest(s.w)
	}
	s.w, s.module, s.fault = nil, nil, nil
	return cut
}

// expire is called when the request's context ends. Closing the module's connection cancels its handler's context.
func (s *Watch) expire() {
	s.mu.Lock()
	s.expired = true
	if s.module != nil {
		_ = s.module.Close()
	}
	s.stopReading()
	if s.writing {
		_ = http.NewResponseController(s.w).SetWriteDeadline(past())
	}
	s.mu.Unlock()
	s.ended <- struct{}{}
}

// Attach makes module what the end of the context closes. It reports false if it is too late for that.
func (s *Watch) Attach(module io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.module = module
	return !s.expired
}

// GiveUpBody ends a read of the client's body that is under way and every later one.
func (s *Watch) GiveUpBody() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopReading()
}

func (s *Watch) stopReading() {
	if s.reading {
		s.reading, s.gaveUp = false, true
		_ = http.NewResponseController(s.w).SetReadDeadline(past())
	}
}

// Read reads from the client's body, no longer than the client may be idle. A body that failed once is not read again.
func (s *Watch) Read(body io.Reader, buf []byte) (int, error) {
	if !s.armRead() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := body.Read(buf)
	s.disarmRead(err)
	return n, err
}

func (s *Watch) armRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading && s.idle > 0 {
		s.stalls = time.Now().Add(s.idle)
		_ = http.NewResponseController(s.w).SetReadDeadline(s.stalls)
	}
	return s.reading
}

func (s *Watch) disarmRead(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case AtEnd(err):
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
// Read that times out, net/http itself ends the context.
func (s *Watch) blame(err error) {
	stopped := !s.reading && errors.Is(err, os.ErrDeadlineExceeded)
	stalled := errors.Is(err, link.ErrStalled) || s.idle > 0 && !time.Now().Before(s.stalls)
	if s.fault == nil && (!stopped || stalled) {
		s.fault = err
	}
}

// BadBody notes a fault of the body that reading it did not show.
func (s *Watch) BadBody(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault == nil {
		s.fault = err
	}
	return err
}

// BodyFault returns how the client's side of the body failed, if it did.
func (s *Watch) BodyFault() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

func (s *Watch) endRead() {
	if s.reading && s.idle > 0 {
		_ = http.NewResponseController(s.w).SetReadDeadline(time.Time{})
	}
}

// BeginAnswer is called before the head is written. It reports false if the context has ended: the caller must not write.
func (s *Watch) BeginAnswer() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = !s.expired
	return s.writing
}

// Write writes to the client, which must take it before it has been idle for too long. The deadline is left in place on
// HTTP/1: net/http clears it after it has flushed what it still holds.
func (s *Watch) Write(p []byte, flush bool) error {
	s.ArmWrite()
	_, err := s.w.Write(p)
	if err == nil && flush {
		err = http.NewResponseController(s.w).Flush()
	}
	s.DisarmWrite()
	return err
}

// Flush makes the client see what has been written.
func (s *Watch) Flush() error {
	s.ArmWrite()
	err := http.NewResponseController(s.w).Flush()
	s.DisarmWrite()
	return err
}

// ArmWrite bounds what is written until DisarmWrite, for writes that do not go through Write.
func (s *Watch) ArmWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle > 0 && !s.expired {
		_ = http.NewResponseController(s.w).SetWriteDeadline(time.Now().Add(s.idle))
	}
}

// DisarmWrite ends what ArmWrite began.
func (s *Watch) DisarmWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared && s.idle > 0 && !s.expired {
		_ = http.NewResponseController(s.w).SetWriteDeadline(time.Time{})
	}
}

// past is a deadline that has passed.
func past() time.Time { return time.Unix(1, 0) }
