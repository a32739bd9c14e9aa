package gateway

import (
	"io"
	"net/http"
	"sync"
)

// maxKept is the largest body, in bytes, that is kept for a second instance. Bodies of a known length up to this are read
// whole before a module hears of the request (hop.MaxInline), so they are whole when it breaks.
const maxKept = 64 << 10

// bodyState is what can be done with the body of a request that failed.
type bodyState int

const (
	bodyNone      bodyState = iota // there is none
	bodyUntouched                  // nothing of it has been read
	bodyWhole                      // all of it has been read, and kept
	bodyLost
)

// keptBody is a client's body that remembers what has been read of it, if it is small, and can be read again. A nil one is
// that of a request without a body. One goroutine at a time uses it.
type keptBody struct {
	io.ReadCloser      // the client's
	keep          bool // what is read is kept
	kept          []byte
	touched       bool // something of the client's body has been read
	ended         bool // all of it
	again         bool // reads are from kept
	at            int  // where the next one begins
}

// keptBodies are pooled with their memory, which is not more than maxKept each.
var keptBodies = sync.Pool{New: func() any { return &keptBody{} }}

// keepBody makes the body of r one that can be read again, if r has one. A body of unknown length is kept only if repeatable
// says that this can be of use: it is not read before a module has been reached.
func keepBody(r *http.Request, repeatable bool) *keptBody {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	b := keptBodies.Get().(*keptBody) //nolint:errcheck // New makes no other
	b.ReadCloser = r.Body
	b.keep = r.ContentLength > 0 && r.ContentLength <= maxKept || r.ContentLength < 0 && repeatable
	r.Body = b
	return b
}

// release gives r its own body back. Nobody may use b afterwards.
func (b *keptBody) release(r *http.Request) {
	if b == nil {
		return
	}
	r.Body = b.ReadCloser
	*b = keptBody{kept: b.kept[:0]}
	keptBodies.Put(b)
}

// Read implements io.Reader. The end comes with the last bytes where it is known.
func (b *keptBody) Read(p []byte) (int, error) {
	if b.again {
		return b.readAgain(p)
	}
	b.touched = true
	n, err := b.ReadCloser.Read(p)
	b.remember(p[:n])
	b.ended = err == io.EOF // as io.Reader promises; an error that wraps it is a failure
	return n, err
}

func (b *keptBody) readAgain(p []byte) (int, error) {
	n := copy(p, b.kept[b.at:])
	if b.at += n; b.at < len(b.kept) {
		return n, nil
	}
	return n, io.EOF
}

func (b *keptBody) remember(p []byte) {
	if !b.keep {
		return
	}
	if len(b.kept)+len(p) > maxKept {
		b.keep = false
		return
	}
	b.kept = append(b.kept, p...)
}

func (b *keptBody) state() bodyState {
	switch {
	case b == nil:
		return bodyNone
	case !b.touched:
		return bodyUntouched
	case b.keep && b.ended:
		return bodyWhole
	}
	return bodyLost
}

// rewind makes the next Read begin at the beginning. The state must be another one than bodyLost.
func (b *keptBody) rewind() {
	if b.state() == bodyWhole {
		b.again, b.at = true, 0
	}
}
