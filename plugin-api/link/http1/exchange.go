package http1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// exchange is one request and its answer. It is pooled: nothing of it may be used after end.
type exchange struct {
	client *Client
	w      http.ResponseWriter
	r      *http.Request

	watch *hop.Watch

	out     []byte // what is sent first: the head and an inline body
	calls   callEncoder
	framing hop.Framing
	lend    link.LendSocket // nil if the module cannot have the client's socket

	conn   *conn
	upload *upload
	head   []byte // what was read of the answer's head
	answer answer

	reached bool // the module may have processed some of the request
	relayed bool // the whole answer has been written
}

// exchanges are shared by all clients of the process.
var exchanges = sync.Pool{New: func() any {
	return &exchange{watch: hop.NewWatch()}
}}

func (c *Client) exchange(w http.ResponseWriter, r *http.Request, call *link.Call, protocol string) error {
	if call.Timeout > 0 {
		var cancel context.CancelFunc
		r, cancel = withTimeout(r, call.Timeout)
		defer cancel()
	}
	x := c.begin(w, r)
	defer x.end()
	if err := x.prepare(call, protocol); err != nil {
		return x.failure(err)
	}
	if err := x.roundTrip(); err != nil {
		return x.failure(err)
	}
	if x.answer.Status == http.StatusSwitchingProtocols {
		return x.switchProtocols(protocol)
	}
	return x.relay()
}

func withTimeout(r *http.Request, timeout time.Duration) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return r.WithContext(ctx), cancel
}

func (c *Client) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange) //nolint:errcheck // New makes no other
	x.client, x.w, x.r = c, w, r
	x.watch.Begin(w, r, c.config.IdleTimeout)
	x.watch.Heed(r.Context())
	return x
}

// end gives back everything that the exchange holds, however it ended.
func (x *exchange) end() {
	if x.upload != nil {
		x.endUpload()
	}
	cut := x.watch.End()
	if x.conn != nil {
		x.releaseConn(cut)
	}
	x.answer.Reset()
	*x = exchange{watch: x.watch, out: x.out, calls: x.calls, head: x.head, answer: answer{Answer: x.answer.Answer}}
	exchanges.Put(x)
}

// endUpload settles an upload that the answer has not waited for.
func (x *exchange) endUpload() {
	if x.relayed && !closed(x.upload.done) {
		_ = x.watch.Flush() // the client may want the whole answer before it goes on, or stops
		x.watch.Unwatch()   // to stop the upload may end the context, which must not cut the end of the answer off
	}
	x.upload.settle(x.relayed)
}

// releaseConn keeps the connection if both sides know that the exchange is over.
func (x *exchange) releaseConn(cut bool) {
	sent := x.upload == nil || x.upload.complete
	if x.relayed && sent && !cut && !x.answer.close && x.conn.reader.Buffered() == 0 {
		x.client.pool.put(x.conn)
		return
	}
	_ = x.conn.Close()
}

// roundTrip sends the request and reads the head of the final answer. A request on a connection that the module had given
// up is sent once more, on a new one.
func (x *exchange) roundTrip() error {
	reused, err := x.connect(false)
	if err != nil {
		return err
	}
	err = x.attempt()
	if err == nil || !reused || !x.repeatable() {
		return err
	}
	_ = x.conn.Close()
	if _, err := x.connect(true); err != nil {
		return err
	}
	return x.attempt()
}

// repeatable tells whether a request that failed on a reused connection can be sent again: nothing of an answer came,
// nothing of the client's body is gone, and the module either cannot have seen the request or may see it twice.
func (x *exchange) repeatable() bool {
	if len(x.head) > 0 || x.upload != nil || x.r.Context().Err() != nil {
		return false
	}
	return !x.reached || hop.Safe(x.r.Method)
}

// connect takes an idle connection, or makes one.
func (x *exchange) connect(fresh bool) (reused bool, err error) {
	ctx, pool := x.r.Context(), &x.client.pool
	x.conn = nil
	if err := ctx.Err(); err != nil { // the watch may not have heard yet
		return false, err
	}
	if !fresh {
		if x.conn, err = pool.get(); err != nil {
			return false, err
		}
	}
	if reused = x.conn != nil; !reused {
		if x.conn, err = pool.dial(ctx); err != nil {
			return false, err
		}
	}
	if !x.watch.Attach(x.conn) {
		return false, ctx.Err()
	}
	return reused, nil
}

// attempt sends the request and reads the head of the final answer.
func (x *exchange) attempt() error {
	x.head = x.head[:0]
	n, err := x.conn.Write(x.out)
	x.reached = x.reached || n > 0
	if err != nil {
		return fmt.Errorf("send to the module: %w", err)
	}
	if x.framing.Streamed() {
		// Otherwise net/http would, before it writes the answer, wait for the body that the other goroutine reads.
		_ = http.NewResponseController(x.w).EnableFullDuplex()
		x.upload = startUpload(x)
	}
	return x.readHead()
}

// readHead reads answers until the final one, or 101.
func (x *exchange) readHead() error {
	for {
		start := len(x.head)
		head, err := readBlock(x.conn.reader, x.head)
		x.head = head
		if err != nil {
			return unexpected(err)
		}
		if err := x.answer.parse(string(head[start:]), x.r.Method); err != nil {
			return err
		}
		if x.answer.Status >= 200 || x.answer.Status == http.StatusSwitchingProtocols {
			return nil
		}
		x.inform()
	}
}

// inform deals with an informational answer: 100 lets the body go, 103 travels on, others are about this hop only.
func (x *exchange) inform() {
	switch x.answer.Status {
	case http.StatusContinue:
		if x.upload != nil {
			x.upload.ask()
		}
	case http.StatusEarlyHints:
		// Not when the upload may be writing 100 to the client at this moment.
		if x.r.ProtoAtLeast(1, 1) && !hop.ExpectsContinue(x.r) {
			x.watch.Hint(&x.answer.Answer)
		}
	}
}

// failure is what the caller learns if nothing has been written.
func (x *exchange) failure(err error) error {
	return &link.ExchangeError{Reached: x.reached, Err: x.cause(err)}
}

// cause puts first what came first: a body that cannot be read, and a context that ends, both close the module's
// connection, and err may just say that it is closed. The upload ends here, to know what became of the body; that may end
// the context, because net/http takes a read that fails for a client that is gone.
func (x *exchange) cause(err error) error {
	over := endOf(x.r.Context())
	if x.upload != nil {
		x.upload.settle(false)
	}
	if fault := x.watch.BodyFault(); fault != nil {
		err = fmt.Errorf("%w: %w", link.ErrRequestBody, fault)
	}
	var tooLarge *http.MaxBytesError
	if over != nil && !errors.As(err, &tooLarge) && !errors.Is(err, over) {
		err = fmt.Errorf("%w (%w)", over, err)
	}
	return err
}

// endOf is ctx.Err, also in the moment between a deadline and the timer that ends the context: the module's may go first.
func endOf(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}
