// Package mux is the link: it carries HTTP exchanges between the core and a module written with our SDK over one connection
// of length-prefixed frames, many exchanges at once and many frames per system call. It holds both halves: Client, for the
// core, relays a request that a client sent to the core; Server, for modules, hands it to an http.Handler together with the
// link.Call that the core decided on.
//
// Frames carry what is small. A larger body goes beside them, so that it delays nobody: an answer's, of more than 32 KiB, on a
// side connection, which carries one answer at a time; a request's, of more than 64 KiB or of unknown length, and an upgraded
// connection's bytes, in HTTP/1.1 on the same socket, as package http1 speaks it.
//
// It must not decide anything about a request, and trusts neither side, exactly as http1 does: one suite of tests holds for
// both.
package mux

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// Client is the core's half: it sends requests to one instance of a module. It is safe for concurrent use.
type Client struct {
	config http1.ClientConfig
	dialer hop.Dialer
	beside *http1.Client // uploads and upgrades
	sides  sides
	lastID atomic.Uint32

	mu      sync.Mutex
	closed  bool
	conn    *clientConn   // nil until the first exchange, and after it broke
	dialing chan struct{} // closed when the dial that is under way has ended; nil if none is
}

// NewClient returns a Client. It connects when it is first needed.
func NewClient(config http1.ClientConfig) *Client {
	dialer := hop.Dialer{Socket: config.Socket, CheckPeer: config.CheckPeer}
	return &Client{
		config: config, dialer: dialer, beside: http1.NewClient(config),
		sides: sides{byID: map[uint32]*side{}, maxIdle: maxIdleSides},
	}
}

// Exchange relays r to the module as call says, and the module's answer to w. It keeps every promise of
// http1.Client.Exchange.
func (c *Client) Exchange(w http.ResponseWriter, r *http.Request, call *link.Call) error {
	if hop.FramingOf(r).Streamed() {
		return c.beside.Exchange(w, r, call)
	}
	x := c.begin(w, r, call)
	defer x.end()
	if err := x.prepare(call); err != nil {
		return x.failure(err)
	}
	if err := x.submit(); err != nil {
		return x.failure(err)
	}
	return x.relay()
}

// Upgrade does what http1.Client.Upgrade does.
func (c *Client) Upgrade(w http.ResponseWriter, r *http.Request, call *link.Call) error {
	return c.beside.Upgrade(w, r, call)
}

// Close makes later exchanges fail with link.ErrClosed and ends those under way.
func (c *Client) Close() {
	c.mu.Lock()
	conn := c.conn
	c.conn, c.closed = nil, true
	c.mu.Unlock()
	if conn != nil {
		conn.batch.close()
		<-conn.done
	}
	c.sides.close()
	c.beside.Close()
}

// connect returns the connection for x, and makes one if there is none. All who need it wait for the same dial.
func (c *Client) connect(x *exchange) (*clientConn, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, link.ErrClosed
		}
		if c.conn != nil && !c.conn.broken() {
			conn := c.conn
			c.mu.Unlock()
			return conn, nil
		}
		x.heed()
		dialing := c.dialing
		if dialing == nil {
			c.dialing = make(chan struct{})
			c.mu.Unlock()
			return c.dial(x.ctx)
		}
		c.mu.Unlock()
		select {
		case <-dialing:
		case <-x.ctx.Done():
			return nil, x.ctx.Err()
		}
	}
}

func (c *Client) dial(ctx context.Context) (*clientConn, error) {
	conn, err := c.handshake(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.dialing)
	c.dialing = nil
	if err != nil {
		return nil, err
	}
	if c.closed {
		conn.batch.close()
		return nil, link.ErrClosed
	}
	c.conn = conn
	return conn, nil
}

func (c *Client) handshake(ctx context.Context) (*clientConn, error) {
	unix, err := c.greet(ctx, preface{role: roleFrames})
	if err != nil {
		return nil, err
	}
	batch, err := newBatch(unix)
	if err != nil {
		_ = unix.Close()
		return nil, err
	}
	conn := &clientConn{
		batch: batch, sides: &c.sides, lastID: &c.lastID, exchanges: map[uint32]*exchange{}, done: make(chan struct{}),
	}
	go conn.run()
	return conn, nil
}

// greet connects and says what the connection is for.
func (c *Client) greet(ctx context.Context, p preface) (*net.UnixConn, error) {
	unix, err := c.dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := unix.Write(p.append(nil, c.config.Secret)); err != nil { // fits into an empty socket buffer
		_ = unix.Close()
		return nil, fmt.Errorf("greet the module: %w", err)
	}
	return unix, nil
}
