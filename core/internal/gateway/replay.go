package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/platformd/platformd/plugin-api/link"
)

// maxTries bounds the instances that one request may meet: a request that ends every process it reaches must not end many.
const maxTries = 3

// failure is all that decides whether a request that was not answered is sent to another instance (docs/decisions/0016).
type failure struct {
	method  string
	keyed   bool // the client and the route agree that the request may come twice
	upgrade bool
	body    bodyState
	tries   int  // so far
	reached bool // the instance may have processed some of it
	cause   cause
}

// cause is whose doing a failure is.
type cause int

const (
	causeOther   cause = iota // the client's, the time's, or a module's that answers, if not well
	causeBroken               // the connection to the instance is gone, or could not be made
	causeDrained              // the instance was told to stop, and ended its streams
)

// repeatable tells whether the request may be sent again: nothing must come of that but an answer.
func (f failure) repeatable() bool {
	switch {
	case f.cause == causeOther, f.tries >= maxTries, f.body == bodyLost:
		return false
	case !f.reached:
		return true
	case f.upgrade, f.body == bodyUntouched: // the transport has given up what it had begun to read
		return false
	}
	return f.keyed || idempotent(f.method)
}

// idempotent tells whether a request with this method does the same if it comes twice (RFC 9110, section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// keyed tells whether the request may come twice because its module knows it by its key.
func (rt *route) keyed(r *http.Request) bool {
	keys := r.Header["Idempotency-Key"]
	return rt.IdempotencyKey && len(keys) == 1 && keys[0] != ""
}

// repeatable tells whether the request may be sent again though it has reached an instance, if its body permits.
func (rt *route) repeatable(r *http.Request) bool { return idempotent(r.Method) || rt.keyed(r) }

// causeOf tells whose doing it is that the exchange with the context ctx failed. draining says that its instance is being
// stopped.
func causeOf(ctx context.Context, failed *link.ExchangeError, draining bool) cause {
	switch {
	case errors.Is(failed, link.ErrRequestBody), ctx.Err() != nil:
		return causeOther
	case errors.Is(failed, context.Canceled) && draining:
		return causeDrained
	case errors.Is(failed, context.Canceled), errors.Is(failed, context.DeadlineExceeded):
		return causeOther
	case cutOff(failed):
		return causeBroken
	}
	return causeOther
}

// cutOff tells whether err is about a connection to the module, not about what came on it.
func cutOff(err error) bool {
	var network *net.OpError
	if errors.As(err, &network) {
		return true
	}
	for _, end := range []error{io.ErrUnexpectedEOF, net.ErrClosed, link.ErrClosed, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
