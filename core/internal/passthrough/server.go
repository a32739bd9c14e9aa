package passthrough

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// acceptPause is how long Serve waits when the system has no descriptors to give.
const acceptPause = 50 * time.Millisecond

// Server is the half that one caller talks to, on one connection or some.
type Server struct {
	handler Handler
	limits  Limits
	streams atomic.Int64

	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// NewServer returns a Server whose calls go to handler.
func NewServer(handler Handler, limits Limits) *Server {
	return &Server{handler: handler, limits: limits, conns: make(map[*conn]struct{})}
}

// Serve accepts connections until l is closed, and returns when every one of them has ended. admit, if set, is asked about each.
func (s *Server) Serve(l *net.UnixListener, admit func(*net.UnixConn) error) {
	var all sync.WaitGroup
	defer all.Wait()
	defer s.close()
	for {
		raw, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause := time.NewTimer(acceptPause)
			<-pause.C
			continue
		}
		if admit != nil && admit(raw) != nil || !s.serve(raw, &all) {
			_ = raw.Close()
		}
	}
}

// serve reports false if the connection is one too many.
func (s *Server) serve(raw *net.UnixConn, all *sync.WaitGroup) bool {
	half := &served{owner: s}
	c, err := newConn(raw, half)
	if err != nil {
		return false
	}
	half.conn = c
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.conns) >= s.limits.Conns {
		return false
	}
	s.conns[c] = struct{}{}
	all.Go(func() {
		half.run()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
	return true
}

func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.fail(errClosed)
	}
}

// served is one connection of a caller's.
type served struct {
	*conn
	owner *Server
}

func (h *served) run() {
	h.greet(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(h.owner.limits.Streams)}) //nolint:gosec // small
	err := h.preface()
	if err == nil {
		err = h.read()
	}
	h.end(err)
}

func (h *served) preface() error {
	if err := h.conn.conn.SetReadDeadline(time.Now().Add(prefacePatience)); err != nil {
		return err
	}
	got := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(h.in, got); err != nil {
		return err
	}
	if string(got) != http2.ClientPreface {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return nil
}

// headers implements half: each opens a call.
func (h *served) headers(f *http2.MetaHeadersFrame) error {
	h.mu.Lock()
	open, before := h.streams[f.StreamID], f.StreamID <= h.lastID
	h.mu.Unlock()
	switch {
	case f.StreamID%2 == 0:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case open != nil: // gRPC's requests have no trailers
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	case before:
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	}
	return h.openCall(f)
}

func (h *served) openCall(f *http2.MetaHeadersFrame) error {
	server := h.owner
	path := f.PseudoValue("path")
	h.mu.Lock()
	h.lastID = f.StreamID
	h.mu.Unlock()
	if f.PseudoValue("method") != "POST" || !strings.HasPrefix(path, "/") {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
	}
	if server.streams.Add(1) > int64(server.limits.Streams) {
		server.streams.Add(-1)
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeRefusedStream}
	}
	call := &Call{
		Path: path, Header: f.RegularFields(), Began: time.Now(), handler: server.handler, kept: true, bodyEnd: f.StreamEnded(),
	}
	h.mu.Lock()
	s := h.open(f.StreamID, call)
	s.gotEnd = f.StreamEnded()
	s.finished = func() { server.streams.Add(-1); call.stopTimer() }
	call.down = s
	h.mu.Unlock()
	if tooLarge(f) {
		call.over = true
		s.finish(statusFields(codes.ResourceExhausted, "the headers of the call are over 32 KiB", false), &h.dirty)
		return nil
	}
	call.apply(server.handler.Begin(call), &h.dirty)
	return nil
}

func tooLarge(f *http2.MetaHeadersFrame) bool {
	if f.Truncated {
		return true
	}
	var size uint32
	for _, field := range f.Fields {
		size += field.Size()
	}
	return size > MaxHeader
}

// goAway implements half: a caller that leaves opens no streams, which needs no help of ours.
func (h *served) goAway(uint32) {}

// removed implements half.
func (h *served) removed() {}

// server implements half.
func (h *served) server() bool { return true }

// lastPeerStream implements half.
func (h *served) lastPeerStream() uint32 { return h.lastID }

// headers takes a header block of the callee's.
func (c *Call) headers(s *stream, f *http2.MetaHeadersFrame, d *dirty) error {
	if tooLarge(f) {
		c.conclude(codes.ResourceExhausted, "the headers of the answer are over 32 KiB", d)
		return nil
	}
	first := f.PseudoValue("status") != ""
	if first != c.expectsHead() || len(f.PseudoFields()) > 1 {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	return c.answer(s, f.Fields, f.StreamEnded(), d)
}

func (c *Call) expectsHead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.answered
}
