package passthrough

import (
	"errors"
	"io"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Client is the half that talks to one callee, on one connection. It is safe for concurrent use.
type Client struct{ *conn }

// NewClient returns a Client that Run has to be called on.
func NewClient(raw *net.UnixConn) (*Client, error) {
	client := &Client{}
	c, err := newConn(raw, client)
	if err != nil {
		return nil, err
	}
	client.conn = c
	c.pending = append(c.pending, http2.ClientPreface...) // before any call: there may be one before Run is
	c.greet(http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	return client, nil
}

// Run serves the connection until it ends, and returns why; nil if Close did it, or the callee in good order. Every call on it
// has been told by then.
func (c *Client) Run() error {
	err := c.read()
	c.end(err)
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close ends the connection; Run returns.
func (c *Client) Close() { c.fail(errClosed) }

// Usable tells whether new calls can go to it.
func (c *Client) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usable()
}

func (c *Client) usable() bool { return !c.away && c.err == nil && c.lastID+2 < maxStreamID }

// openCall begins a stream for the call, or says why there is none.
func (c *Client) openCall(call *Call, header []hpack.HeaderField, d *dirty) (*stream, Break) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.usable() {
		return nil, Break{Lost: true, Unprocessed: true}
	}
	if uint64(len(c.streams)) >= uint64(c.peerMax) {
		return nil, Break{Busy: true, Unprocessed: true}
	}
	id := c.lastID + 2
	if c.lastID == 0 {
		id = 1
	}
	s := c.open(id, call)
	c.writeHeaders(id, false, func(enc *hpack.Encoder) {
		_ = enc.WriteField(hpack.HeaderField{Name: ":method", Value: "POST"})
		_ = enc.WriteField(hpack.HeaderField{Name: ":scheme", Value: "http"})
		_ = enc.WriteField(hpack.HeaderField{Name: ":path", Value: call.Path})
		_ = enc.WriteField(hpack.HeaderField{Name: ":authority", Value: "platformd"})
		writeFields(enc, header)
	})
	d.add(c.conn)
	return s, Break{}
}

// headers implements half.
func (c *Client) headers(f *http2.MetaHeadersFrame) error {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	idle := c.idle(f.StreamID)
	if s != nil && f.StreamEnded() {
		s.gotEnd = true
	}
	c.mu.Unlock()
	if s == nil && idle {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	if s == nil {
		return nil // its call is over
	}
	return s.call.headers(s, f, &c.dirty)
}

// goAway implements half.
func (c *Client) goAway(last uint32) {
	c.mu.Lock()
	c.away = true
	var refused []*stream
	for id, s := range c.streams {
		if id > last {
			refused = append(refused, s)
		}
	}
	for _, s := range refused {
		c.remove(s)
	}
	c.removed()
	c.mu.Unlock()
	for _, s := range refused {
		s.call.reset(s, http2.ErrCodeRefusedStream, &c.dirty)
	}
}

// removed implements half: a callee that takes no more calls waits for the end of the connection, which comes with that of its
// last call. grpc-go's server would be patient for a second.
func (c *Client) removed() {
	if c.away && c.err == nil && len(c.streams) == 0 {
		c.err = errClosed // the reader ends the rest
		_ = c.conn.conn.Close()
	}
}

// server implements half.
func (c *Client) server() bool { return false }

// lastPeerStream implements half: a callee opens none.
func (c *Client) lastPeerStream() uint32 { return 0 }

// leave ends the callee's stream, whose answer is complete: what the caller still sends has no reader.
func (s *stream) leave(d *dirty) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed {
		return
	}
	if !s.ended {
		_ = c.fr.WriteRSTStream(s.id, http2.ErrCodeCancel)
		d.add(c)
	}
	c.remove(s)
}
