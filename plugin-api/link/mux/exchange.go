package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// errCut is what waiting for the module ends with when the request's context has ended; its error is the cause.
var errCut = errors.New("the exchange was cut")

// exchange is one request and its answer. It is pooled: nothing of it may be used after end.
type exchange struct {
	client *Client
	w      http.ResponseWriter
	r      *http.Request
	watch  *hop.Watch
	heeded bool // the watch heeds ctx
	timer  *time.Timer
	// ctx is the request's, and has the call's deadline once it is heeded.
	ctx      context.Context
	cancel   context.CancelFunc
	deadline time.Time // zero: none

	out    []byte // the request, in one frame
	answer hop.Answer
	begun  bool  // the head of the answer has been written
	owed   int   // bytes of the answer that were written, and for which no credit was given yet
	got    int64 // bytes of the answer's body that have come
	side   *side // carries the rest of the body

	reached bool // the module may have processed some of the request
	over    bool // the module has nothing more to say

	conn *clientConn
	id   uint32
	// ready receives a value when there is something to look at: frames, the end of the link, or cut.
	ready chan struct{}
	taken []byte
	// Guarded by conn.mu:
	inbox   []byte
	pieceAt int // where the last frame in inbox begins, if more of the body can be added to it; else -1
	cut     bool
	flooded bool // the module has sent more than it may
}

// exchanges are shared by all clients of the process.
var exchanges = sync.Pool{New: func() any {
	timer := time.NewTimer(0)
	timer.Stop()
	return &exchange{watch: hop.NewWatch(), ready: make(chan struct{}, 1), timer: timer}
}}

func (c *Client) begin(w http.ResponseWriter, r *http.Request, call *link.Call) *exchange {
	x := exchanges.Get().(*exchange) //nolint:errcheck // New makes no other
	x.client, x.w, x.r, x.ctx = c, w, r, r.Context()
	x.pieceAt = -1
	if call.Timeout > 0 {
		x.deadline = time.Now().Add(call.Timeout)
	}
	x.watch.Begin(w, r, c.config.IdleTimeout)
	return x
}

// heed makes the end of the context, or the deadline, break off whatever the exchange is blocked in. It costs a context of
// its own, which the usual exchange, a small answer to a request without a body, does without: see await.
func (x *exchange) heed() {
	if x.heeded {
		return
	}
	x.heeded = true
	if !x.deadline.IsZero() {
		x.ctx, x.cancel = context.WithDeadline(x.ctx, x.deadline)
	}
	x.watch.Heed(x.ctx)
}

// end gives back everything that the exchange holds, however it ended.
func (x *exchange) end() {
	x.watch.End()
	if x.cancel != nil {
		x.cancel()
	}
	if x.conn != nil {
		if !x.over {
			_ = x.conn.batch.send(appendFrame(nil, frame{kind: kindCancel, id: x.id}), true) // fails if the link is gone: as good
		}
		x.conn.leave(x)
	}
	if x.side != nil {
		x.client.sides.drop(x.side)
	}
	select {
	case <-x.ready:
	default:
	}
	x.answer.Reset()
	*x = exchange{
		watch: x.watch, ready: x.ready, timer: x.timer, answer: x.answer,
		out: kept(x.out), inbox: kept(x.inbox), taken: kept(x.taken),
	}
	exchanges.Put(x)
}

// kept returns buf, empty, to be used again, unless it has become too large for that.
func kept(buf []byte) []byte {
	if cap(buf) > 2*hop.MaxInline {
		return nil
	}
	return buf[:0]
}

// wake makes receive look.
func (x *exchange) wake() {
	select {
	case x.ready <- struct{}{}:
	default:
	}
}

// Close is called when the request's context ends: it makes receive return.
func (x *exchange) Close() error {
	x.conn.mu.Lock()
	defer x.conn.mu.Unlock()
	x.cut = true
	x.wake()
	return nil
}

// prepare builds the request's frame.
func (x *exchange) prepare(call *link.Call) (err error) {
	length := 0
	if hop.FramingOf(x.r) == hop.Inline {
		length = int(x.r.ContentLength)
	}
	if x.out, err = appendRequest(beginFrame(x.out[:0], kindRequest, 0), x.r, call, length); err != nil {
		return err
	}
	if length > 0 {
		x.heed()
		if x.out, err = x.watch.AppendBody(x.out, x.r); err != nil {
			return err
		}
	}
	if len(x.out)-headerSize > maxPayload {
		return fmt.Errorf("the request has %d bytes of headers, too many for the link", len(x.out)-headerSize-length)
	}
	return nil
}

// submit sends the request.
func (x *exchange) submit() error {
	if err := x.ctx.Err(); err != nil { // the watch may not have heard yet
		return err
	}
	for {
		conn, err := x.client.connect(x)
		if err != nil {
			return err
		}
		if conn.enter(x) == nil {
			break // else it broke just now: make another
		}
	}
	if !x.watch.Attach(x) {
		return x.ctx.Err()
	}
	binary.BigEndian.PutUint32(x.out[4:], x.id)
	x.out = endFrame(x.out, 0, 0)
	if err := x.conn.batch.send(x.out, false); err != nil {
		return fmt.Errorf("send to the module: %w", err)
	}
	x.reached = true
	return nil
}

// failure is what the caller learns if nothing has been written.
func (x *exchange) failure(err error) error {
	return &link.ExchangeError{Reached: x.reached, Err: x.cause(err)}
}

// cause puts first what came first: a body that cannot be read, and a context that ends, both cut the exchange.
func (x *exchange) cause(err error) error {
	if fault := x.watch.BodyFault(); fault != nil {
		err = fmt.Errorf("%w: %w", link.ErrRequestBody, fault)
	}
	var tooLarge *http.MaxBytesError
	ended := x.ended()
	if ended != nil && !errors.As(err, &tooLarge) && !errors.Is(err, ended) {
		err = fmt.Errorf("%w (%w)", ended, err)
	}
	return err
}

// ended returns why the exchange must not go on, if so.
func (x *exchange) ended() error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	if !x.deadline.IsZero() && !time.Now().Before(x.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// abort panics with http.ErrAbortHandler, for the given reason.
func (x *exchange) abort(err error) {
	if x.client.config.OnAbort != nil {
		x.client.config.OnAbort(x.r, x.cause(err))
	}
	panic(http.ErrAbortHandler)
}
