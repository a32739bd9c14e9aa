package hop

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

const (
	// MaxInline is the largest request body, in bytes, that is read whole before the module hears of the request. It costs
	// no goroutine, and reading it to its end is what arms net/http's detection of a client that goes away.
	MaxInline = 64 << 10
	// BufferSize is how much of a large body is in memory at once.
	BufferSize = 256 << 10
)

// ErrLongBody is a body that goes on after its Content-Length.
var ErrLongBody = errors.New("the body is longer than its Content-Length")

// Framing is how the body of a request travels to the module.
type Framing int

// NoBody needs no framing; an Inline body has a Content-Length and is read whole and sent with the head; Sized and Chunked
// bodies are streamed, the former with a Content-Length, the latter possibly with trailers.
const (
	NoBody Framing = iota
	Inline
	Sized
	Chunked
)

// FramingOf tells how the body of r should travel.
func FramingOf(r *http.Request) Framing {
	switch {
	case r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody:
		return NoBody
	case r.ContentLength < 0 || len(r.Trailer) > 0:
		return Chunked
	case r.ContentLength <= MaxInline:
		return Inline
	default:
		return Sized
	}
}

// Streamed tells whether the body is sent piece by piece, beside the answer.
func (f Framing) Streamed() bool { return f == Sized || f == Chunked }

// AppendBody appends the whole body of r, an Inline one, to dst. It reads to EOF, not just to the last byte: only then does
// net/http begin to watch for a client that goes away.
func (s *Watch) AppendBody(dst []byte, r *http.Request) ([]byte, error) {
	start, length := len(dst), int(r.ContentLength)
	dst = slices.Grow(dst, length+1) // one byte more than fits, to meet EOF
	room := dst[start : start+length+1]
	for filled := 0; ; {
		n, err := s.Read(r.Body, room[filled:])
		filled += n
		if filled > length {
			return nil, s.BadBody(ErrLongBody)
		}
		if err != nil {
			return dst[:start+filled], s.EndOfBody(err, filled == length)
		}
	}
}

// EndOfBody turns what ended the client's body into an error, unless it is the end where it should be.
func (s *Watch) EndOfBody(err error, complete bool) error {
	switch {
	case !AtEnd(err):
		return err
	case !complete:
		return s.BadBody(io.ErrUnexpectedEOF)
	default:
		return nil
	}
}

// AtEnd tells whether a Read ended as io.Reader promises: with EOF itself. An error that wraps it is a failure.
func AtEnd(err error) bool { return err == io.EOF } //nolint:errorlint // see above

// RefuseRest tells net/http that the rest of the request's body will not be read: it must neither wait for it nor take it
// for the next request, and should let the client read the answer before it closes the connection. A body limit that is
// exceeded is the one public way to say so.
func RefuseRest(w http.ResponseWriter) {
	limit := http.MaxBytesReader(Innermost(w), io.NopCloser(strings.NewReader("rest")), 0)
	_, _ = limit.Read(make([]byte, 1))
}

// Innermost returns the server's own ResponseWriter: wrappers such as gin's keep back what they do not understand.
func Innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// buffers are shared by all exchanges of the process.
var buffers = sync.Pool{New: func() any { return new([BufferSize]byte) }}

// GetBuffer returns a buffer of the process-wide pool.
func GetBuffer() *[BufferSize]byte { return buffers.Get().(*[BufferSize]byte) } //nolint:errcheck // New makes no other

// PutBuffer gives back what GetBuffer returned; the caller must not use it afterwards.
func PutBuffer(buf *[BufferSize]byte) { buffers.Put(buf) }
