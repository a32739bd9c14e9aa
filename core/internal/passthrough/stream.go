package passthrough

import (
	"bytes"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is one call's part of one connection. Its fields are guarded by the connection's mu, except for the first three, which
// do not change.
type stream struct {
	conn *conn
	id   uint32
	call *Call

	window    int64 // what the peer takes
	allowance int64 // what the peer may still send
	gotEnd    bool  // the peer has sent all
	padding   int64 // of what the peer has sent, what goes nowhere
	granted   int64 // what the peer has been given back of its allowance

	queue    bytes.Buffer // DATA that waits for a window
	ending   bool         // after the queue comes the end
	trailer  []hpack.HeaderField
	sent     int64   // bytes of DATA
	source   *stream // which the DATA comes from
	blocked  bool    // it is in conn.blocked
	ended    bool    // the end is sent
	closed   bool
	finished func() // hears that the stream is out of its connection
}

// piece is the payload of one DATA frame.
type piece struct {
	data []byte
	end  bool
}

// open makes the stream of that id; mu is held.
func (c *conn) open(id uint32, call *Call) *stream {
	s := &stream{conn: c, id: id, call: call, window: c.initial, allowance: StreamWindow}
	c.streams[id] = s
	c.lastID = id
	return s
}

// remove takes a stream out; mu is held.
func (c *conn) remove(s *stream) {
	if s.closed {
		return
	}
	s.closed = true
	s.queue = bytes.Buffer{}
	delete(c.streams, s.id)
	if s.finished != nil {
		s.finished()
	}
	c.half.removed()
}

// await has pump look at a stream that has something to send; mu is held.
func (c *conn) await(s *stream) {
	if !s.blocked && (s.queue.Len() > 0 || s.ending) {
		s.blocked = true
		c.blocked = append(c.blocked, s)
	}
}

// send sends DATA that came from source, as far as the windows allow; the rest waits.
func (s *stream) send(p piece, source *stream, d *dirty) {
	c := s.conn
	c.mu.Lock()
	if s.closed {
		c.mu.Unlock()
		return
	}
	s.source = source
	s.ending = p.end
	rest := p.data
	if s.queue.Len() == 0 {
		rest = rest[s.emit(rest):]
	}
	s.queue.Write(rest)
	s.tryEnd()
	c.await(s)
	sent := s.sent
	c.mu.Unlock()
	d.add(c)
	source.credit(sent, d)
}

// emit appends frames of data, as many as the windows allow, and returns how many bytes went; mu is held.
func (s *stream) emit(data []byte) (n int) {
	c := s.conn
	for n < len(data) {
		room := min(int64(len(data)-n), maxFrame, s.window, c.window)
		if room <= 0 || len(c.pending) > maxPending {
			break
		}
		next := n + int(room)
		last := s.ending && s.trailer == nil && next == len(data)
		_ = c.fr.WriteData(s.id, last, data[n:next])
		s.window -= room
		c.window -= room
		s.sent += room
		n = next
		if last {
			s.ending = false
			s.sentEnd()
		}
	}
	return n
}

// tryEnd sends the end if all that comes before it is sent; mu is held.
func (s *stream) tryEnd() {
	if !s.ending || s.queue.Len() > 0 || s.closed {
		return
	}
	s.ending = false
	if s.trailer == nil {
		_ = s.conn.fr.WriteData(s.id, true, nil)
	} else {
		s.conn.writeHeaders(s.id, true, func(enc *hpack.Encoder) { writeFields(enc, s.trailer) })
	}
	s.sentEnd()
}

// sentEnd: with the end of an answer the stream is over, and a caller that still sends is told so; mu is held.
func (s *stream) sentEnd() {
	s.ended = true
	if !s.conn.half.server() {
		return
	}
	if !s.gotEnd {
		_ = s.conn.fr.WriteRSTStream(s.id, http2.ErrCodeNo)
	}
	s.conn.remove(s)
}

// pump sends what has waited, in turns; mu is held. Who sent it gets credits, once mu is not.
func (c *conn) pump() (due credits) {
	if len(c.blocked) == 0 || c.window <= 0 || len(c.pending) > maxPending {
		return nil
	}
	waiting := c.blocked
	c.blocked = nil
	for _, s := range waiting {
		s.blocked = false
		if s.closed {
			continue
		}
		n := s.emit(s.queue.Bytes())
		s.queue.Next(n)
		if !s.closed {
			s.tryEnd()
		}
		if n > 0 {
			due = append(due, credit{s.source, s.sent})
		}
		if !s.closed && s.window > 0 { // it waits for the connection; else its own window wakes it
			c.await(s)
		}
	}
	return due
}

// credit is what a source is to hear: how much of its DATA has gone.
type credit struct {
	source *stream
	sent   int64
}

type credits []credit

func (all credits) give(d *dirty) {
	for _, due := range all {
		due.source.credit(due.sent, d)
	}
}

// credit lets the peer send as much more as has gone to the other side.
func (s *stream) credit(sent int64, d *dirty) {
	c := s.conn
	c.mu.Lock()
	due := sent + s.padding - s.granted
	give := due >= StreamWindow/4 && !s.gotEnd && !s.closed
	if give {
		s.granted += due
		s.allowance += due
		_ = c.fr.WriteWindowUpdate(s.id, uint32(due)) //nolint:gosec // at most StreamWindow
	}
	c.mu.Unlock()
	if give {
		d.add(c)
	}
}

// head sends the first headers of an answer.
func (s *stream) head(fields []hpack.HeaderField, d *dirty) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.closed {
		c.writeHeaders(s.id, false, func(enc *hpack.Encoder) { writeFields(enc, fields) })
		d.add(c)
	}
}

// finish sends the last headers of an answer, after what still waits.
func (s *stream) finish(fields []hpack.HeaderField, d *dirty) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	s.ending, s.trailer = true, fields
	s.tryEnd()
	c.await(s)
	d.add(c)
}

// drop ends the stream at once.
func (s *stream) drop(code http2.ErrCode, d *dirty) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	_ = c.fr.WriteRSTStream(s.id, code)
	c.remove(s)
	d.add(c)
}

// violated ends a stream on which the peer broke a rule, which is the peer's to know.
func (s *stream) violated(code http2.ErrCode, d *dirty) {
	s.drop(code, d)
	s.call.reset(s, http2.ErrCodeInternal, d)
}
