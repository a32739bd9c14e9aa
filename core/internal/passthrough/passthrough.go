// Package passthrough carries gRPC calls from a caller's connection to a callee's as HTTP/2 frames: no message is decoded, and a
// call costs no goroutine. A Server is the half that a caller talks to, a Client the half that talks to a callee, and between
// them a Handler decides about each call. Both ends are untrusted.
//
// Floor 0. It knows HTTP/2 and the little of gRPC that is in headers. It must not know modules, nor decide where a call goes.
//
// Memory: of each call at most StreamWindow bytes wait per direction for who reads slowly, and at most Keep bytes are kept for
// another attempt; a Server holds at most Limits.Streams calls. Connections buffer maxPending more bytes before DATA waits in its
// call, and end when over maxBacklog wait.
package passthrough

import (
	"errors"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

const (
	// StreamWindow is how many bytes of one call may wait, in each direction.
	StreamWindow = 64 << 10
	// Keep is how much of a request is kept, so that it can be sent again.
	Keep = 64 << 10
	// MaxHeader bounds the headers of a call or an answer, as SETTINGS_MAX_HEADER_LIST_SIZE counts them.
	MaxHeader = 32 << 10

	// hardMaxHeader is what peers are told: beyond it a well-behaved one does not send, and any other loses its connection.
	hardMaxHeader = 64 << 10
	// connWindow is the window of a whole connection. It is refilled as bytes arrive, so that no call waits for another one.
	connWindow = 16 << 20
	// maxFrame is the largest payload that we send, and that we announce to take.
	maxFrame = 16 << 10
	// maxPending is from where on DATA waits in its call, and maxBacklog is what ends a connection that is not read from.
	maxPending = 512 << 10
	maxBacklog = 8 << 20
	// readBuffer is how many bytes are read at once.
	readBuffer = 64 << 10
	// writePatience is how long a peer may take nothing of what is written to it, prefacePatience how long until it speaks.
	writePatience   = 10 * time.Second
	prefacePatience = 10 * time.Second
	// maxStreamID is the last stream that a connection can have.
	maxStreamID = 1<<31 - 1
)

var (
	errClosed  = errors.New("the connection is closed")
	errBacklog = errors.New("the peer does not take what is sent to it")
	errFlood   = errors.New("the peer floods the connection with control frames")
)

// Handler decides about calls. Its methods are called on the goroutines that read connections, and must not block: what takes
// longer calls Call.Go from a goroutine of its own.
type Handler interface {
	// Begin hears of a new call and says what is to become of it.
	Begin(c *Call) Next
	// Broken hears that an attempt has ended before anything of an answer came, and says what is to become of the call.
	Broken(c *Call, attempt any, why Break) Next
	// Done hears, once per call that Begin heard of, that it is over. attempt is nil if none was in progress.
	Done(c *Call, attempt any, outcome Outcome)
}

// Next is what is to become of a call: it is forwarded To a callee, answered with a status, or decided Later by Call.Go. The zero
// value is an answer with OK, which no call without an answer deserves: set one of them.
type Next struct {
	Later bool

	To *Client
	// Header are the fields that the callee gets, without pseudo-headers.
	Header []hpack.HeaderField
	// Attempt is handed back to the Handler at the end of this attempt.
	Attempt any

	Code    codes.Code
	Message string
}

// Break is how an attempt ended.
type Break struct {
	// Unprocessed says that the callee has surely not worked on the call.
	Unprocessed bool
	// Lost says that the connection has ended, or would not take the call; Busy that it has as many as the callee wants.
	Lost, Busy bool
	// Reset is the callee's, if it has given up on the call alone.
	Reset http2.ErrCode
	// Over says that the call is over, so that the attempt did not begin: what is to become of the call is not asked.
	Over bool
	// Kept says that the whole request, as far as it has come, can be sent again.
	Kept bool
}

// Code is what a caller is told of a reset, as the gRPC specification maps it.
func (b Break) Code() codes.Code {
	switch {
	case b.Lost:
		return codes.Unavailable
	case b.Busy:
		return codes.ResourceExhausted
	}
	return resetCode(b.Reset)
}

// Outcome is how a call ended for its caller.
type Outcome struct {
	Code codes.Code
	// ByCaller says that the caller gave up, or is gone.
	ByCaller bool
	// ByCallee says that the status is the callee's own.
	ByCallee bool
}

// Limits bound what one Server takes.
type Limits struct {
	// Streams is how many calls may be in progress; more are refused (REFUSED_STREAM).
	Streams int
	// Conns is how many connections may be open; more are closed.
	Conns int
}
