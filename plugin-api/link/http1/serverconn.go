package http1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// serverListener makes serverConns of the core's connections.
type serverListener struct{ net.Listener }

// Accept implements net.Listener.
func (l serverListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if unix, ok := c.(*net.UnixConn); ok && err == nil {
		return &serverConn{core: unix, oob: make([]byte, syscall.CmsgLen(4))}, nil
	}
	return c, err
}

// serverConn is the module's end of a connection. When the core hands over the socket of the client whose request has been
// upgraded, it becomes that socket, before the Write that sends the 101 returns; whoever hijacked it need not know.
type serverConn struct {
	core    *net.UnixConn
	offered atomic.Bool                 // the final head of an answer has yet to be written, and could ask for the socket
	head    []byte                      // what has been written of it
	socket  atomic.Pointer[net.TCPConn] // nil until the core has handed it over

	receiving sync.Mutex // held by the one who reads from the core, or looks at early
	oob       []byte     // has room for one descriptor: the system closes others
	early     []byte     // what the client said before the handover, and nobody has read

	changing        sync.Mutex // guards the rest, and when socket is set
	closed          bool
	readBy, writeBy time.Time
}

type serverConnKey struct{}

// withServerConn is for http.Server.ConnContext.
func withServerConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, serverConnKey{}, c)
}

// noteOffer takes down whether the core would hand the client's socket over to the handler of this request.
func noteOffer(ctx context.Context, offered bool) {
	if c, ok := ctx.Value(serverConnKey{}).(*serverConn); ok {
		c.offered.Store(offered)
	}
}

// Write implements net.Conn.
func (c *serverConn) Write(p []byte) (int, error) {
	if socket := c.socket.Load(); socket != nil {
		return socket.Write(p)
	}
	if !c.offered.Load() {
		return c.core.Write(p)
	}
	return c.writeHead(p)
}

// writeHead keeps the answer's head back until it is whole. If it agrees to switch protocols, the core learns that it should
// hand over the client's socket; what follows the head waits for it.
func (c *serverConn) writeHead(p []byte) (int, error) {
	c.head = append(c.head, p...)
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	if end < 0 && len(c.head) <= maxHead {
		return len(p), nil
	}
	head := c.head
	c.head = nil
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || end < 0 {
		c.offered.Store(bytes.HasPrefix(head, []byte("HTTP/1.1 1"))) // after an informational answer comes another one
		if _, err := c.core.Write(head); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	rest := head[end+len("\r\n\r\n"):]
	if _, err := c.core.Write(appendLine(head[:end+len("\r\n"):end+len("\r\n")], headerHandover, "1\r\n")); err != nil {
		return 0, err
	}
	socket, err := c.await()
	if err == nil && len(rest) > 0 {
		_, err = socket.Write(rest)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// await receives what the core sends up to the client's socket. net/http may be reading too: it watches for the core to hang up
// until the connection is hijacked.
func (c *serverConn) await() (*net.TCPConn, error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	var buf [1 << 10]byte
	for c.socket.Load() == nil {
		n, err := c.receive(buf[:])
		c.early = append(c.early, buf[:n]...)
		if err != nil {
			return nil, fmt.Errorf("await the client's socket: %w", err)
		}
	}
	return c.socket.Load(), nil
}

// Read implements net.Conn.
func (c *serverConn) Read(p []byte) (int, error) {
	n, err := c.readEarly(p)
	if socket := c.socket.Load(); socket != nil && n == 0 && err == nil {
		return socket.Read(p)
	}
	return n, err
}

// readEarly reads what the core sends until it has handed the socket over, and what is left of that afterwards.
func (c *serverConn) readEarly(p []byte) (n int, err error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	if c.socket.Load() == nil && len(c.early) == 0 && len(p) > 0 {
		return c.receive(p)
	}
	n = copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// receive reads from the core. Without an error it returns 0 only when the socket has come.
func (c *serverConn) receive(p []byte) (int, error) {
	n, oobn, flags, _, err := c.core.ReadMsgUnix(p, c.oob)
	if errors.Is(err, io.EOF) {
		err = io.EOF // which readers compare, and ReadMsgUnix wraps
	}
	if oobn == 0 && flags&syscall.MSG_CTRUNC == 0 || err != nil {
		return n, err
	}
	if err := c.adopt(c.oob[:oobn]); err != nil {
		return 0, err
	}
	return n - 1, nil // the last byte only carried the descriptor: the system hands out nothing that follows such a message
}

// adopt makes the connection the socket whose descriptor came in control.
func (c *serverConn) adopt(control []byte) error {
	socket, err := socketFrom(control)
	if err != nil {
		return err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	if c.closed || !c.offered.Load() || c.socket.Load() != nil {
		_ = socket.Close()
		return net.ErrClosed
	}
	_ = socket.SetReadDeadline(c.readBy)
	_ = socket.SetWriteDeadline(c.writeBy)
	c.socket.Store(socket)
	return nil
}

// socketFrom returns the TCP connection whose descriptor is in control.
func socketFrom(control []byte) (*net.TCPConn, error) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("read what came with the core's message: %w", err)
	}
	if len(messages) == 0 {
		return nil, errors.New("no socket came with the core's message: raise this process's limit of open files")
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("read the descriptor that the core sent: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "client")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("use the descriptor that the core sent: %w", err)
	}
	socket, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return nil, fmt.Errorf("the core sent a %T, no client's socket", conn)
	}
	return socket, nil
}

// closeWriter is what both kinds of socket are.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// current is where the connection leads now.
func (c *serverConn) current() closeWriter {
	if socket := c.socket.Load(); socket != nil {
		return socket
	}
	return c.core
}

// LocalAddr implements net.Conn.
func (c *serverConn) LocalAddr() net.Addr { return c.current().LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *serverConn) RemoteAddr() net.Addr { return c.current().RemoteAddr() }

// SetDeadline implements net.Conn.
func (c *serverConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *serverConn) SetReadDeadline(t time.Time) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.readBy = t
	return c.current().SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *serverConn) SetWriteDeadline(t time.Time) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.writeBy = t
	return c.current().SetWriteDeadline(t)
}

// CloseWrite ends what is sent, and leaves the other direction open.
func (c *serverConn) CloseWrite() error { return c.current().CloseWrite() }

// Close implements net.Conn. The end of the core's connection makes the core let go of the client's.
func (c *serverConn) Close() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.closed = true
	if socket := c.socket.Load(); socket != nil {
		_ = socket.Close()
	}
	return c.core.Close()
}
