package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// serverConn is the module's end of a link.
type serverConn struct {
	server *Server
	batch  *batch

	mu        sync.Mutex
	exchanges map[uint32]*incoming
}

// run reads what the core sends, until the connection ends. Then every exchange is cancelled.
func (c *serverConn) run() error {
	reader := newFrameReader(c.batch.conn)
	for {
		f, err := reader.next()
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.batch.fail(err)
			c.cancelAll()
			if errors.Is(err, errFrame) {
				return err
			}
			return nil // the core has ended, or stops this module
		}
	}
}

func (c *serverConn) take(f frame) error {
	switch f.kind {
	case kindRequest:
		return c.begin(f)
	case kindCancel:
		c.cancel(f.id)
	case kindCredit:
		if len(f.payload) != 4 {
			return fmt.Errorf("%w: a credit of %d bytes", errFrame, len(f.payload))
		}
		c.grant(f.id, binary.BigEndian.Uint32(f.payload))
	case kindSideFree:
		c.server.sides.free(f.id, f.flags&flagEnd == 0)
	default:
		return fmt.Errorf("%w: frame of kind %d", errFrame, f.kind)
	}
	return nil
}

func (c *serverConn) begin(f frame) error {
	p, err := parseRequest(f.payload)
	if err != nil {
		return err
	}
	if !c.server.enter() { // the core has sent it before it heard that this module stops
		return c.batch.send(appendFrame(nil, frame{kind: kindAbort, flags: flagUntouched, id: f.id}), true)
	}
	x, err := newIncoming(c, f.id, &p)
	if err != nil {
		c.server.leave()
		return err
	}
	c.mu.Lock()
	_, again := c.exchanges[f.id]
	if !again {
		c.exchanges[f.id] = x
	}
	c.mu.Unlock()
	if again {
		c.server.leave()
		return fmt.Errorf("%w: two requests under one id", errFrame)
	}
	c.server.workers.run(x)
	return nil
}

// leave ends what begin began.
func (c *serverConn) leave(x *incoming) {
	c.mu.Lock()
	delete(c.exchanges, x.id)
	cancelled := x.cancelled
	c.mu.Unlock()
	if cancelled {
		c.server.sides.forget(x.id)
	}
	c.server.leave()
}

func (c *serverConn) cancel(id uint32) {
	c.mu.Lock()
	x := c.exchanges[id]
	if x != nil {
		x.cancelled = true
	}
	c.mu.Unlock()
	if x == nil {
		c.server.sides.forget(id)
		return
	}
	x.ctx.cancel(context.Canceled)
}

func (c *serverConn) cancelAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.exchanges {
		x.ctx.cancel(context.Canceled)
	}
}

func (c *serverConn) grant(id, amount uint32) {
	c.mu.Lock()
	x := c.exchanges[id]
	c.mu.Unlock()
	if x != nil {
		x.credit.add(int(min(amount, window)))
	}
}

// credit is how much of an answer may be sent in frames.
type credit struct {
	mu    sync.Mutex
	bytes int
	more  chan struct{} // receives a value when bytes has grown
}

func newCredit() credit { return credit{bytes: window, more: make(chan struct{}, 1)} }

func (c *credit) add(n int) {
	c.mu.Lock()
	c.bytes = min(c.bytes+n, window) // the core grants no more than it took
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// take waits until some of the n bytes may be sent, and returns how many.
func (c *credit) take(ctx context.Context, n int, deadline time.Time) (int, error) {
	var late <-chan time.Time
	for {
		c.mu.Lock()
		granted := min(n, c.bytes)
		c.bytes -= granted
		c.mu.Unlock()
		if granted > 0 || n == 0 {
			return granted, nil
		}
		if late == nil && !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-c.more:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-ctx.Done():
			return 0, fmt.Errorf("the client takes no more of the answer: %w", context.Cause(ctx))
		}
	}
}
