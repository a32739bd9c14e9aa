package passthrough

import (
	"context"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// Call is one call of a caller's. Path, Header and Began do not change; State is the Handler's own.
type Call struct {
	// Path is "/SERVICE/METHOD", as the caller wrote it.
	Path string
	// Header are the caller's fields, without pseudo-headers.
	Header []hpack.HeaderField
	Began  time.Time
	State  any
	// Own stands beside the status of an answer that is not the callee's; the Handler may set it in Begin.
	Own []hpack.HeaderField

	handler Handler
	down    *stream // the caller's

	mu       sync.Mutex
	up       *stream // the callee's; nil between attempts
	attempt  any
	body     []byte // of the request, from its beginning, while kept
	kept     bool
	bodyEnd  bool
	answered bool // the answer has begun
	over     bool
	timer    *time.Timer
	ctx      context.Context //nolint:containedctx // made for the few calls that wait, and ended with them
	cancel   context.CancelFunc
}

// Context returns a context that ends with the call.
func (c *Call) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if c.over {
			c.cancel()
		}
	}
	return c.ctx
}

// Expire ends the call with DEADLINE_EXCEEDED after d, if it is not over by then; also an answer that the caller does not take.
// It is called at most once, at the end of Begin: Done may hear of it at once.
func (c *Call) Expire(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.timer = time.AfterFunc(d, c.expired)
	}
}

func (c *Call) expired() {
	var d dirty
	defer d.flush()
	if !c.conclude(codes.DeadlineExceeded, "the call took longer than its time", &d) {
		c.down.drop(http2.ErrCodeCancel, &d)
	}
}

// Go does what Handler.Begin or Handler.Broken said that it would do later. It is safe to call when the call is over: then
// Handler.Broken hears of the attempt that did not begin.
func (c *Call) Go(next Next) {
	var d dirty
	defer d.flush()
	c.apply(next, &d)
}

// Interrupt ends the call with a status, wherever it is.
func (c *Call) Interrupt(code codes.Code, message string) {
	var d dirty
	defer d.flush()
	c.conclude(code, message, &d)
}

func (c *Call) apply(next Next, d *dirty) {
	for !next.Later {
		if next.To == nil {
			c.conclude(next.Code, next.Message, d)
			return
		}
		why, ok := c.forward(next, d)
		if ok {
			return
		}
		next = c.handler.Broken(c, next.Attempt, why)
		if why.Over {
			return
		}
	}
}

func (c *Call) forward(next Next, d *dirty) (why Break, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return Break{Over: true}, false
	}
	up, why := next.To.openCall(c, next.Header, d)
	if up == nil {
		why.Kept = c.kept
		return why, false
	}
	c.up, c.attempt = up, next.Attempt
	if len(c.body) > 0 || c.bodyEnd {
		up.send(piece{c.body, c.bodyEnd}, c.down, d)
	}
	if len(c.body) > Keep {
		c.kept, c.body = false, nil
	}
	return Break{}, true
}

// conclude ends the call with a status of our own. It reports false if it is over already.
func (c *Call) conclude(code codes.Code, message string, d *dirty) bool {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return false
	}
	up, attempt, answered := c.up, c.attempt, c.answered
	c.close()
	if up != nil {
		up.drop(http2.ErrCodeCancel, d)
	}
	c.down.finish(append(statusFields(code, message, answered), c.Own...), d)
	c.mu.Unlock()
	c.handler.Done(c, attempt, Outcome{Code: code})
	return true
}

// close marks the call as over; mu is held.
func (c *Call) close() {
	c.over = true
	c.up, c.attempt, c.body = nil, nil, nil
	if c.cancel != nil {
		c.cancel()
	}
}

// stopTimer is called when the caller's stream is over.
func (c *Call) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// data takes DATA of either end.
func (c *Call) data(s *stream, p piece, d *dirty) {
	if !c.pass(s, p, d) {
		c.conclude(codes.Internal, "the callee's answer is not gRPC", d)
	}
}

// pass reports false if the DATA has no place in an answer: before its headers, or at its end, which trailers are.
func (c *Call) pass(s *stream, p piece, d *dirty) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
	case s == c.down:
		c.request(p, d)
	case s != c.up:
	case !c.answered || p.end:
		return false
	default:
		c.down.send(p, s, d)
	}
	return true
}

// request keeps DATA of the caller's and sends it on; mu is held.
func (c *Call) request(p piece, d *dirty) {
	c.bodyEnd = p.end
	if c.kept && c.up != nil && len(c.body)+len(p.data) > Keep {
		c.kept, c.body = false, nil
	}
	if c.kept && !c.answered {
		c.body = append(c.body, p.data...)
	}
	if c.up != nil {
		c.up.send(p, c.down, d)
	}
}

// answer takes headers of the callee's.
func (c *Call) answer(s *stream, fields []hpack.HeaderField, end bool, d *dirty) error {
	c.mu.Lock()
	if c.over || s != c.up {
		c.mu.Unlock()
		return nil
	}
	if end {
		attempt := c.attempt
		c.complete(fields, d)
		c.mu.Unlock()
		c.handler.Done(c, attempt, Outcome{Code: statusOf(fields), ByCallee: true})
		return nil
	}
	defer c.mu.Unlock()
	if c.answered {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeProtocol}
	}
	c.answered, c.body = true, nil
	c.down.head(fields, d)
	return nil
}

// complete passes the end of the answer on; mu is held.
func (c *Call) complete(fields []hpack.HeaderField, d *dirty) {
	c.up.leave(d)
	c.close()
	c.down.finish(fields, d)
}

// reset hears that an end has given up on its stream, which is out of its connection.
func (c *Call) reset(s *stream, code http2.ErrCode, d *dirty) {
	if s == c.down {
		c.abandon(d)
		return
	}
	c.broke(s, Break{Reset: code, Unprocessed: code == http2.ErrCodeRefusedStream}, d)
}

// lost hears that the stream's connection has ended.
func (c *Call) lost(s *stream, d *dirty) {
	if s == c.down {
		c.abandon(d)
		return
	}
	c.broke(s, Break{Lost: true}, d)
}

// abandon ends a call that its caller does not want any more.
func (c *Call) abandon(d *dirty) {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return
	}
	up, attempt := c.up, c.attempt
	c.close()
	if up != nil {
		up.drop(http2.ErrCodeCancel, d)
	}
	c.mu.Unlock()
	c.handler.Done(c, attempt, Outcome{Code: codes.Canceled, ByCaller: true})
}

// broke ends an attempt. What has begun to be answered cannot begin again.
func (c *Call) broke(s *stream, why Break, d *dirty) {
	c.mu.Lock()
	if c.over || s != c.up {
		c.mu.Unlock()
		return
	}
	attempt := c.attempt
	if c.answered {
		c.breakOff(why, d)
		c.mu.Unlock()
		c.handler.Done(c, attempt, Outcome{Code: why.Code()})
		return
	}
	c.up, c.attempt = nil, nil
	why.Kept = c.kept
	c.mu.Unlock()
	c.apply(c.handler.Broken(c, attempt, why), d)
}

// breakOff ends a call whose answer has begun, as the callee did: a reset stays one, and what it means is the caller's to know.
// mu is held.
func (c *Call) breakOff(why Break, d *dirty) {
	c.close()
	if why.Lost {
		c.down.finish(statusFields(why.Code(), why.String(), true), d)
		return
	}
	c.down.drop(why.Reset, d)
}
