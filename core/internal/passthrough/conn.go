package passthrough

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn is one connection, of either half. Where a Call's lock and a connection's are both held, the Call's was taken first; two
// connections' never are.
type conn struct {
	writer
	half half
	in   *bufio.Reader
	fr   *http2.Framer // read by the reader, written under mu

	// Of the reader:
	flood flood
	dirty dirty

	// Guarded by mu:
	enc       *hpack.Encoder
	block     bytes.Buffer // what enc writes to
	streams   map[uint32]*stream
	blocked   []*stream // those with DATA that waits for the connection
	window    int64     // what the peer takes of all streams together
	initial   int64     // what it takes of a new one
	allowance int64     // what it may still send
	peerMax   uint32    // how many streams it takes
	lastID    uint32    // newest stream
	away      bool      // no new streams
}

// half is what differs between the two ends.
type half interface {
	// headers takes a header block of the peer's, whose stream may be new.
	headers(f *http2.MetaHeadersFrame) error
	// goAway hears that the peer takes no streams after last.
	goAway(last uint32)
	// server tells which end it is.
	server() bool
	// removed hears that a stream is out of the connection, whose mu is held.
	removed()
	// lastPeerStream is the newest stream that the peer has opened; the connection's mu is held.
	lastPeerStream() uint32
}

func newConn(raw *net.UnixConn, h half) (*conn, error) {
	c := &conn{
		half: h, in: bufio.NewReaderSize(raw, readBuffer), streams: make(map[uint32]*stream),
		window: 65535, initial: 65535, allowance: connWindow, peerMax: 1<<32 - 1, // as RFC 9113 has them until SETTINGS come
	}
	if err := c.init(raw); err != nil {
		return nil, err
	}
	c.fr = http2.NewFramer(&c.writer, c.in)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(maxFrame)
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.fr.MaxHeaderListSize = hardMaxHeader
	c.enc = hpack.NewEncoder(&c.block)
	return c, nil
}

// greet sends our settings. Frames that we write are valid, and go to memory: writing them has no errors.
func (c *conn) greet(settings ...http2.Setting) {
	c.mu.Lock()
	settings = append(settings,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: StreamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: hardMaxHeader})
	_ = c.fr.WriteSettings(settings...)
	_ = c.fr.WriteWindowUpdate(0, connWindow-65535)
	c.mu.Unlock()
	c.flush()
}

// read handles frames until the connection ends, and returns why it did.
func (c *conn) read() error {
	if err := c.awaitSettings(); err != nil {
		return err
	}
	for {
		if !c.frameBuffered() {
			c.dirty.flush()
		}
		frame, err := c.fr.ReadFrame()
		if err == nil {
			err = c.handle(frame)
		}
		if err = c.forgive(err); err != nil {
			return err
		}
	}
}

// awaitSettings reads the peer's first frame.
func (c *conn) awaitSettings() error {
	_ = c.conn.SetReadDeadline(time.Now().Add(prefacePatience)) // what fails here fails below
	frame, err := c.fr.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok || settings.IsAck() {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	return c.handle(frame)
}

// frameBuffered tells whether the next frame can be read without waiting: then what is to be written can wait for its company.
func (c *conn) frameBuffered() bool {
	const header = 9
	n := c.in.Buffered()
	if n < header {
		return false
	}
	head, err := c.in.Peek(header)
	return err == nil && n >= header+int(binary.BigEndian.Uint32(head)>>8)
}

// forgive makes an error that concerns one stream the end of that one.
func (c *conn) forgive(err error) error {
	var bad http2.StreamError
	if !errors.As(err, &bad) {
		return err
	}
	if !c.flood.allow() {
		return errFlood
	}
	c.mu.Lock()
	s := c.streams[bad.StreamID]
	if s == nil {
		_ = c.fr.WriteRSTStream(bad.StreamID, bad.Code)
	}
	c.mu.Unlock()
	c.dirty.add(c)
	if s != nil {
		s.violated(bad.Code, &c.dirty)
	}
	return nil
}

func (c *conn) handle(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.MetaHeadersFrame:
		return c.half.headers(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	}
	return c.control(frame)
}

// control handles what no call needs, and none may therefore have much of.
func (c *conn) control(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.RSTStreamFrame:
		return c.reset(f)
	case *http2.GoAwayFrame:
		c.half.goAway(f.LastStreamID)
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.settings(f)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.pong(f)
		}
	case *http2.PushPromiseFrame, *http2.ContinuationFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	return c.unwanted() // PRIORITY, what we do not know, and answers to questions that we did not ask
}

// unwanted takes account of a frame that was for nothing.
func (c *conn) unwanted() error {
	if !c.flood.allow() {
		return errFlood
	}
	return nil
}

// writeHeaders appends a header block; mu is held.
func (c *conn) writeHeaders(id uint32, end bool, write func(*hpack.Encoder)) {
	c.block.Reset()
	write(c.enc)
	first := true
	for block := c.block.Bytes(); first || len(block) > 0; first = false {
		fragment := block[:min(len(block), maxFrame)]
		block = block[len(fragment):]
		if first {
			_ = c.fr.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: fragment, EndStream: end, EndHeaders: len(block) == 0,
			})
			continue
		}
		_ = c.fr.WriteContinuation(id, len(block) == 0, fragment)
	}
}

// writeFields writes to the encoder's buffer, which has no errors.
func writeFields(enc *hpack.Encoder, fields []hpack.HeaderField) {
	for _, f := range fields {
		_ = enc.WriteField(f)
	}
}

// end closes the connection for the reason that read gave, and every call on it hears of that.
func (c *conn) end(err error) {
	var broken http2.ConnectionError
	code := http2.ErrCodeNo
	switch {
	case errors.As(err, &broken):
		code = http2.ErrCode(broken)
	case errors.Is(err, errFlood), errors.Is(err, errBacklog):
		code = http2.ErrCodeEnhanceYourCalm
	case errors.Is(err, http2.ErrFrameTooLarge):
		code = http2.ErrCodeFrameSize
	}
	c.mu.Lock()
	c.away = true
	gone := errors.Is(err, io.EOF) || c.err != nil
	if !gone {
		_ = c.fr.WriteGoAway(c.half.lastPeerStream(), code, nil)
	}
	c.mu.Unlock()
	c.dirty.flush()
	c.flush()
	c.fail(errClosed)
	c.slow.Wait()
	for _, s := range c.all() {
		s.call.lost(s, &c.dirty)
	}
	c.dirty.flush()
}

// all takes every stream out.
func (c *conn) all() []*stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*stream, 0, len(c.streams))
	for _, s := range c.streams {
		all = append(all, s)
	}
	for _, s := range all {
		c.remove(s)
	}
	return all
}
