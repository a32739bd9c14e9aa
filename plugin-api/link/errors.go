package link

import "errors"

// ErrClosed is what an exchange on a closed transport fails with. The module has not seen the request.
var ErrClosed = errors.New("the module's instance has been stopped")

// ErrRequestBody marks failures to read the client's body. The cause is wrapped beside it: *http.MaxBytesError,
// os.ErrDeadlineExceeded (the client stalled), io.ErrUnexpectedEOF (it went away).
var ErrRequestBody = errors.New("the request's body could not be read")

// ErrStalled is what reading a client's body fails with when the client is too slow, where that is watched below the transport.
// Such an error is os.ErrDeadlineExceeded, too: without this one it could not be told from a read that was broken off.
var ErrStalled = errors.New("the client sends too slowly")

// ExchangeError is an exchange that failed before anything of an answer was written to the client: the caller still can,
// and should, answer it.
type ExchangeError struct {
	// Reached tells that the module may have processed some of the request: repeat it only if that is harmless.
	Reached bool
	// Err is the cause. It wraps ErrRequestBody if the client's body failed, and context.DeadlineExceeded or
	// context.Canceled if the request's context had ended. Go by it, not by the context: when a module breaks while a client
	// stalls in its body, giving that up makes net/http cancel the context afterwards.
	Err error
}

// Error implements error.
func (e *ExchangeError) Error() string { return "exchange with the module: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *ExchangeError) Unwrap() error { return e.Err }
