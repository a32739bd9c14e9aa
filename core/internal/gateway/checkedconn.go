package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

// checkedListener checks what clients send over HTTP/1.1, before net/http reads it.
type checkedListener struct {
	net.Listener
	patience time.Duration // see newCheckedConn
}

// Accept implements net.Listener.
func (l checkedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	encrypted, ok := conn.(*tls.Conn)
	if !ok {
		return newCheckedConn(conn, l.patience), nil
	}
	if encrypted.ConnectionState().NegotiatedProtocol == "h2" {
		return encrypted, nil // has no such ambiguities; and net/http must see that it is TLS
	}
	return &checkedTLSConn{newCheckedConn(encrypted, l.patience), encrypted}, nil
}

// checkedConn spoils a client's message that is ambiguous, so that net/http answers 400 to it. An error of Read would not
// do: net/http reads ahead, and would take it for the end of the client while it still serves an earlier request.
type checkedConn struct {
	net.Conn
	messages  messages
	unchecked bool   // an upgraded connection does not carry messages
	fault     error  // what was wrong with the message that ended the conversation
	spoilt    string // what is still to be read in its place

	abandon  func() // nil until the connection is upgraded
	patience time.Duration
	limit    deadline // of reads
	pace     pace     // of bodies
}

// newCheckedConn returns conn, checked. In each stretch of patience that a body is waited for the client must send some of
// it, see pace; once the connection is upgraded, it must take each piece within that time. Before that, deadlines for writes
// are the business of net/http and of the transports.
func newCheckedConn(conn net.Conn, patience time.Duration) *checkedConn {
	return &checkedConn{Conn: conn, patience: patience, limit: deadline{set: conn.SetReadDeadline}, pace: newPace(patience)}
}

// Read implements net.Conn.
func (c *checkedConn) Read(p []byte) (int, error) {
	if c.fault != nil {
		return c.readSpoilt(p)
	}
	n, err := c.receive(p)
	if c.unchecked || n == 0 {
		return n, err
	}
	good, fault := c.messages.follow(p[:n])
	if fault == nil {
		return n, err
	}
	// A line like this is refused wherever it stands in a head, also as the rest of a line that has begun.
	c.fault, c.spoilt = fault, "\x00\r\n\r\n"
	if good > 0 {
		return good, nil
	}
	return c.readSpoilt(p)
}

// receive reads what the client sends, at its pace or at ours.
func (c *checkedConn) receive(p []byte) (int, error) {
	if c.unchecked || !c.messages.withinBody() {
		c.pace.begin()
		return c.Conn.Read(p)
	}
	began := time.Now()
	c.limit.bound(began.Add(c.pace.left))
	n, err := c.Conn.Read(p)
	c.limit.bound(time.Time{})
	c.pace.note(time.Since(began), n)
	if err != nil && c.pace.missed() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = stalledError{}
	}
	return n, err
}

// Write implements net.Conn. Whoever copies to an upgraded connection sets no deadlines.
func (c *checkedConn) Write(p []byte) (int, error) {
	if c.unchecked {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// SetReadDeadline implements net.Conn.
func (c *checkedConn) SetReadDeadline(t time.Time) error { return c.limit.ask(t) }

// SetDeadline implements net.Conn.
func (c *checkedConn) SetDeadline(t time.Time) error {
	if err := c.limit.ask(t); err != nil {
		return err
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *checkedConn) readSpoilt(p []byte) (int, error) {
	if c.spoilt == "" {
		return 0, c.fault
	}
	n := copy(p, c.spoilt)
	c.spoilt = c.spoilt[n:]
	return n, nil
}

// CloseWrite lets net/http close a connection so that the client can read the last answer.
func (c *checkedConn) CloseWrite() error { return closeWrite(c.Conn) }

// Close implements net.Conn.
func (c *checkedConn) Close() error {
	if c.abandon != nil {
		c.abandon()
	}
	return c.Conn.Close()
}

// handOver is called when the connection has been hijacked: net/http reads it no more. abandon is called when it is closed,
// by whichever direction fails first; otherwise the other one could wait for ever, for a module that waits for the client.
func (c *checkedConn) handOver(abandon func()) { c.unchecked, c.abandon = true, abandon }

// checkedTLSConn is a checkedConn that net/http knows to be encrypted.
type checkedTLSConn struct {
	*checkedConn
	encrypted *tls.Conn
}

// ConnectionState becomes http.Request.TLS.
func (c *checkedTLSConn) ConnectionState() tls.ConnectionState { return c.encrypted.ConnectionState() }
