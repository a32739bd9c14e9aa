package gateway

import (
	"crypto/tls"
	"net"
)

// checkedListener checks what clients send over HTTP/1.1, before net/http reads it.
type checkedListener struct{ net.Listener }

// Accept implements net.Listener.
func (l checkedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	encrypted, ok := conn.(*tls.Conn)
	if !ok {
		return &checkedConn{Conn: conn}, nil
	}
	if encrypted.ConnectionState().NegotiatedProtocol == "h2" {
		return encrypted, nil // has no such ambiguities; and net/http must see that it is TLS
	}
	return &checkedTLSConn{checkedConn{Conn: encrypted}, encrypted}, nil
}

// checkedConn spoils a client's message that is ambiguous, so that net/http answers 400 to it. An error of Read would not
// do: net/http reads ahead, and would take it for the end of the client while it still serves an earlier request.
type checkedConn struct {
	net.Conn
	messages  messages
	unchecked bool   // an upgraded connection does not carry messages
	fault     error  // what was wrong with the message that ended the conversation
	spoilt    string // what is still to be read in its place
}

// Read implements net.Conn.
func (c *checkedConn) Read(p []byte) (int, error) {
	if c.fault != nil {
		return c.readSpoilt(p)
	}
	n, err := c.Conn.Read(p)
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

func (c *checkedConn) readSpoilt(p []byte) (int, error) {
	if c.spoilt == "" {
		return 0, c.fault
	}
	n := copy(p, c.spoilt)
	c.spoilt = c.spoilt[n:]
	return n, nil
}

// CloseWrite lets net/http close a connection so that the client can read the last answer.
func (c *checkedConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed
	}
	return half.CloseWrite()
}

// stopChecking is called when the connection has been hijacked: net/http reads it no more.
func (c *checkedConn) stopChecking() { c.unchecked = true }

// checkedTLSConn is a checkedConn that net/http knows to be encrypted.
type checkedTLSConn struct {
	checkedConn
	encrypted *tls.Conn
}

// ConnectionState becomes http.Request.TLS.
func (c *checkedTLSConn) ConnectionState() tls.ConnectionState { return c.encrypted.ConnectionState() }
