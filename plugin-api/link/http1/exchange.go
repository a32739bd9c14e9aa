package http1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/platformd/platformd/plugin-api/link"
)

// exchange is one request and its answer. It is pooled: nothing of it may be used after end.
type exchange struct {
	client *Client
	w      http.ResponseWriter
	r      *http.Request

	watch     watch
	stopWatch func() bool

	out     []byte // what is sent first: the head and an inline body
	calls   callEncoder
	framing framing

	conn   *conn
	upload *upload
	head   []byte // what was read of the answer's head
	answer answer

	reached bool // the module may have processed some of the request
	relayed bool // the whole answer has been written
	cut     bool // the request's context ended while it was watched
}

// exchanges are shared by all clients of the process.
var exchanges = sync.Pool{New: func() any {
	return &exchange{watch: watch{ended: make(chan struct{}, 1)}}
}}

func (c *Client) exchange(w http.ResponseWriter, r *http.Request, call *link.Call, protocol string) error {
	x := c.begin(w, r)
	defer x.end()
	if err := x.prepare(call, protocol); err != nil {
		return x.failure(err)
	}
	if err := x.roundTrip(); err != nil {
		return x.failure(err)
	}
	if x.answer.status == http.StatusSwitchingProtocols {
		return x.switchProtocols(protocol)
	}
	return x.relay()
}

func (c *Client) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := exchanges.Get().(*exchange) //nolint:errcheck // New makes no other
	x.client, x.w, x.r = c, w, r
	x.watch.reset(w, r, c.config.IdleTimeout)
	x.stopWatch = context.AfterFunc(r.Context(), x.watch.expire)
	return x
}

// end gives back everything that the exchange holds, however it ended.
func (x *exchange) end() {
	if x.upload != nil {
		x.endUpload()
	}
	x.unwatch()
	if x.watch.gaveUp {
		refuseRest(x.w)
	}
	if x.conn != nil {
		x.releaseConn()
	}
	clear(x.answer.fields)
	*x = exchange{
		watch: watch{ended: x.watch.ended}, out: x.out, calls: x.calls, head: x.head,
		answer: answer{fields: x.answer.fields[:0]},
	}
	exchanges.Put(x)
}

// unwatch lets go of the request's context. It may be called more than once.
func (x *exchange) unwatch() {
	if x.stopWatch == nil {
		return
	}
	if x.cut = !x.stopWatch(); x.cut {
		<-x.watch.ended
	}
	x.stopWatch = nil
}

// endUpload settles an upload that the answer has not waited for.
func (x *exchange) endUpload() {
	if x.relayed && !closed(x.upload.done) {
		_ = x.watch.flush() // the client may want the whole answer before it goes on, or stops
		x.unwatch()         // to stop the upload may end the context, which must not cut the end of the answer off
	}
	x.upload.settle(x.relayed)
}

// releaseConn keeps the connection if both sides know that the exchange is over.
func (x *exchange) releaseConn() {
	sent := x.upload == nil || x.upload.complete
	if x.relayed && sent && !x.cut && !x.answer.close && x.conn.reader.Buffered() == 0 {
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
	return !x.reached || safe(x.r.Method)
}

func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
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
	if !x.watch.attach(x.conn) {
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
	if x.framing.streamed() {
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
		if x.answer.status >= 200 || x.answer.status == http.StatusSwitchingProtocols {
			return nil
		}
		x.inform()
	}
}

// inform deals with an informational answer: 100 lets the body go, 103 travels on, others are about this hop only.
func (x *exchange) inform() {
	switch x.answer.status {
	case http.StatusContinue:
		if x.upload != nil {
			x.upload.ask()
		}
	case http.StatusEarlyHints:
		// Not when the upload may be writing 100 to the client at this moment.
		if x.r.ProtoAtLeast(1, 1) && !expectsContinue(x.r) {
			x.hint()
		}
	}
}

// failure is what the caller learns if nothing has been written.
func (x *exchange) failure(err error) error {
	return &ExchangeError{Reached: x.reached, Err: x.cause(err)}
}

// cause puts first what came first: a body that cannot be read, and a context that ends, both close the module's
// connection, and err may just say that it is closed. The upload ends here, to know what became of the body; that may end
// the context, because net/http takes a read that fails for a client that is gone.
func (x *exchange) cause(err error) error {
	ended := x.r.Context().Err()
	if x.upload != nil {
		x.upload.settle(false)
	}
	if fault := x.watch.bodyFault(); fault != nil {
		err = fmt.Errorf("%w: %w", ErrRequestBody, fault)
	}
	var tooLarge *http.MaxBytesError
	if ended != nil && !errors.As(err, &tooLarge) && !errors.Is(err, ended) {
		err = fmt.Errorf("%w (%w)", ended, err)
	}
	return err
}
