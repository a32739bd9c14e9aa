package http1

import (
	"fmt"
	"net"
	"syscall"
)

// headerHandover is how an upgrade is carried out without a tunnel. With the request the core says that it can hand the
// client's own socket over; a module that knows how to take it says so in its 101. Then the core sends, after what the client
// has said already, one byte that carries the socket's descriptor (SCM_RIGHTS), and nothing else ever travels on the
// connection: its end is the end of the exchange, for both sides.
const headerHandover = "Platformd-Handover"

// handOver gives the client's socket to the module, and waits until one of them or the context has ended. What ends then, ends
// for everybody who holds the socket.
func (x *exchange) handOver() {
	socket, err := x.lend()
	if err != nil {
		return
	}
	if err := x.conn.sendSocket(socket); err == nil {
		_, _ = x.conn.Read(x.conn.byte1[:]) // the module has nothing to say: it is gone, or breaks the protocol
	}
	_ = socket.CloseRead()
	_ = socket.CloseWrite()
}

// sendSocket sends the byte that carries the descriptor; the core keeps its own.
func (c *conn) sendSocket(socket *net.TCPConn) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		_, _, failed = c.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(fd)), nil)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("hand the client's socket over: %w", err)
	}
	return nil
}
