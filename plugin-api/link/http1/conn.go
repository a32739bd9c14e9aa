package http1

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// readBuffer holds the head of an answer and most small answers whole.
const readBuffer = 4 << 10

// conn is one connection to the module. One exchange at a time uses it.
type conn struct {
	*net.UnixConn
	reader *bufio.Reader

	// For alive, made once: a look at an idle connection must not allocate.
	raw   syscall.RawConn
	look  func(fd uintptr) bool
	byte1 [1]byte
	quiet bool
}

func newConn(unix *net.UnixConn) (*conn, error) {
	raw, err := unix.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{UnixConn: unix, reader: bufio.NewReaderSize(unix, readBuffer), raw: raw}
	c.look = func(fd uintptr) bool {
		_, err := syscall.Read(int(fd), c.byte1[:])
		c.quiet = errors.Is(err, syscall.EAGAIN)
		return true
	}
	return c, nil
}

// alive tells whether an idle connection can carry a request: the module has neither closed it nor sent what nobody asked
// for. It never blocks.
func (c *conn) alive() bool {
	c.quiet = false
	err := c.raw.Read(c.look)
	return err == nil && c.quiet
}

// pool keeps idle connections to one socket. The one that was used last is used first, so that the rest can be few.
type pool struct {
	dialer  hop.Dialer
	maxIdle int

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

// get returns an idle connection that is still alive, or nil if there is none.
func (p *pool) get() (*conn, error) {
	for {
		c, err := p.pop()
		if c == nil || err != nil {
			return nil, err
		}
		if c.alive() {
			return c, nil
		}
		_ = c.Close()
	}
}

func (p *pool) pop() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, link.ErrClosed
	}
	last := len(p.idle) - 1
	if last < 0 {
		return nil, nil
	}
	c := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return c, nil
}

// put keeps c for a later exchange, or closes it.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < p.maxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}

// dial makes a new connection.
func (p *pool) dial(ctx context.Context) (*conn, error) {
	unix, err := p.dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return newConn(unix)
}
