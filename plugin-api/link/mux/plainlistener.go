package mux

import (
	"net"
	"sync"
)

// plainListener gives package http1 the connections that turned out to speak HTTP/1.1.
type plainListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPlainListener(addr net.Addr) *plainListener {
	return &plainListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// offer hands c over, or closes it if nobody takes connections any more.
func (l *plainListener) offer(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (l *plainListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *plainListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *plainListener) Addr() net.Addr { return l.addr }
