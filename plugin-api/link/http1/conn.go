package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// readBuffer holds the head of an answer and most small answers whole.
	readBuffer = 4 << 10
	// dialPatience bounds the wait for room in the module's accept queue, dialPause is the time between two looks.
	dialPatience = time.Second
	dialPause    = 2 * time.Millisecond
)

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
	socket    string
	checkPeer func(*net.UnixConn) error
	maxIdle   int

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
		return nil, ErrClosed
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

// dial makes a new connection. A full accept queue is waited for: servers of other languages often keep a short one.
func (p *pool) dial(ctx context.Context) (*conn, error) {
	var dialer net.Dialer
	for giveUp := time.Now().Add(dialPatience); ; {
		unix, err := dialer.DialContext(ctx, "unix", p.socket)
		if err == nil {
			return p.admit(unix)
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(giveUp) {
			return nil, fmt.Errorf("connect to the module's data socket: %w", err)
		}
		if err := pause(ctx, dialPause); err != nil {
			return nil, fmt.Errorf("wait for the module to accept connections: %w", err)
		}
	}
}

func (p *pool) admit(dialled net.Conn) (*conn, error) {
	unix, ok := dialled.(*net.UnixConn)
	if !ok {
		_ = dialled.Close()
		return nil, fmt.Errorf("connect to the module's data socket: got a %T", dialled)
	}
	if p.checkPeer != nil {
		if err := p.checkPeer(unix); err != nil {
			_ = unix.Close()
			return nil, fmt.Errorf("check who listens on the module's data socket: %w", err)
		}
	}
	return newConn(unix)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
