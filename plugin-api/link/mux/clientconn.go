package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// clientConn is the core's end of a link.
type clientConn struct {
	batch *batch
	sides *sides
	done  chan struct{} // closed when run has returned

	mu        sync.Mutex
	exchanges map[uint32]*exchange
	lastID    *atomic.Uint32 // of all links to the instance: an id is not used again soon
	err       error          // why the link ended
}

// run reads what the module sends, until the connection ends.
func (c *clientConn) run() {
	defer close(c.done)
	reader := newFrameReader(c.batch.conn)
	for {
		f, err := reader.next()
		if err == nil {
			err = c.deliver(f)
		}
		if err != nil {
			err = unexpected(err)
			c.batch.fail(err)
			c.end(err)
			return
		}
	}
}

// deliver hands a frame to its exchange. One that is over may still be sent some.
func (c *clientConn) deliver(f frame) error {
	switch f.kind {
	case kindHead, kindData, kindTrailers, kindAbort, kindSideWanted:
	default:
		return fmt.Errorf("%w: frame of kind %d", errFrame, f.kind)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.exchanges[f.id]
	if x == nil {
		return nil
	}
	if x.flooded = x.flooded || len(x.inbox)+len(f.payload) > maxInbox; !x.flooded {
		x.put(f)
	}
	x.wake()
	return nil
}

// put puts f into the inbox. Pieces of a body become one: it then holds few headers, however small the pieces are, and they
// are written to the client together.
func (x *exchange) put(f frame) {
	piece := f.kind == kindData && f.flags == 0
	if piece && x.pieceAt >= 0 {
		x.inbox = endFrame(append(x.inbox, f.payload...), x.pieceAt, 0)
		return
	}
	x.pieceAt = -1
	if piece {
		x.pieceAt = len(x.inbox)
	}
	x.inbox = appendFrame(x.inbox, f)
}

// maxInbox is what an exchange may be sent before it reads any of it: informational answers, the head, the window and the
// trailers.
const maxInbox = window + 4*maxHead

// end tells every exchange that the link is no more.
func (c *clientConn) end(err error) {
	c.sides.closeIdle() // the module has closed its ends of them
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for _, x := range c.exchanges {
		x.wake()
	}
}

// unexpected turns the end of a connection into an error that names the fault.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the module closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (c *clientConn) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// enter gives the exchange an id under which it is sent frames.
func (c *clientConn) enter(x *exchange) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	x.conn, x.id = c, c.newID()
	c.exchanges[x.id] = x
	return nil
}

func (c *clientConn) newID() uint32 {
	for {
		id := c.lastID.Add(1)
		if _, taken := c.exchanges[id]; !taken && id != 0 {
			return id
		}
	}
}

// leave ends what enter began: the exchange is sent nothing from here on.
func (c *clientConn) leave(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.exchanges, x.id)
}

// receive waits for frames, and returns all that have come. They are in memory of the exchange's own.
func (c *clientConn) receive(x *exchange) ([]byte, error) {
	for {
		if err := x.await(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		x.taken, x.inbox, x.pieceAt = x.inbox, x.taken[:0], -1
		cut, flooded, err := x.cut, x.flooded, c.err
		c.mu.Unlock()
		switch {
		case cut:
			return nil, errCut
		case flooded:
			return nil, fmt.Errorf("%w: it sends more than it has credit for", errFrame)
		case len(x.taken) > 0: // also if the link has ended since: it may be the whole answer
			if err != nil {
				x.wake()
			}
			return x.taken, nil
		case err != nil:
			return nil, err
		}
	}
}

// await waits until there is something to look at. Unless the watch heeds the context and the deadline, it does.
func (x *exchange) await() error {
	if x.heeded {
		<-x.ready
		return nil
	}
	var late <-chan time.Time
	if !x.deadline.IsZero() {
		x.timer.Reset(time.Until(x.deadline))
		defer x.timer.Stop()
		late = x.timer.C
	}
	select {
	case <-x.ready:
		return nil
	case <-x.ctx.Done():
		return x.ctx.Err()
	case <-late:
		return context.DeadlineExceeded
	}
}
