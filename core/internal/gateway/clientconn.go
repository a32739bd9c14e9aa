package gateway

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// clientConn is one of the connections that the census counts, as it came from the system: TLS, if any, is above it.
type clientConn struct {
	net.Conn
	leave  func()
	left   sync.Once
	limit  atomic.Int64 // when writes must be done, in Unix nanoseconds; negative: never
	unread atomic.Bool  // the client did not take in time what was written
}

// Write implements net.Conn. Once it has failed for lack of time it fails for good, so that nobody waits a second time.
func (c *clientConn) Write(p []byte) (int, error) {
	if c.unread.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	began := time.Now()
	n, err := c.Conn.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.limit.Load() > began.UnixNano() {
		c.unread.Store(true) // and not a deadline in the past, by which writes are broken off
	}
	return n, err
}

// SetWriteDeadline implements net.Conn.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.noteLimit(t)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *clientConn) SetDeadline(t time.Time) error {
	c.noteLimit(t)
	return c.Conn.SetDeadline(t)
}

func (c *clientConn) noteLimit(t time.Time) { c.limit.Store(t.UnixNano()) }

// Close implements net.Conn. What the client would not take is thrown away: it would stay in the system's memory for
// minutes, megabytes of it, and the client could go on as if nothing had happened.
func (c *clientConn) Close() error {
	c.left.Do(c.leave)
	if tcp, ok := c.Conn.(*net.TCPConn); ok && c.unread.Load() {
		_ = tcp.SetLinger(0)
	}
	return c.Conn.Close()
}

// CloseWrite lets net/http close a connection so that the client can read the last answer.
func (c *clientConn) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed
	}
	return half.CloseWrite()
}
