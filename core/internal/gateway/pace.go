package gateway

import (
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
)

// minRate is what a client must send of a body that is waited for, in bytes a second. Kestrel asks for the same.
const minRate = 240

// pace holds a client to a minimum rate: in each window of time that it is waited for, a number of bytes must come. Time in
// which nobody waits for the client does not count, so a slow module is not held against it.
type pace struct {
	window time.Duration
	left   time.Duration // of the current window
	moved  int           // bytes that came in it
}

func newPace(window time.Duration) pace { return pace{window: window, left: window} }

// begin opens a new window.
func (p *pace) begin() { p.left, p.moved = p.window, 0 }

// note says that n bytes came after a wait.
func (p *pace) note(wait time.Duration, n int) {
	p.left -= wait
	if p.moved += n; p.moved >= p.least() {
		p.begin()
	}
}

func (p *pace) least() int { return int(p.window.Seconds() * minRate) }

// missed tells that the window has passed, and too little has come.
func (p *pace) missed() bool { return p.left <= 0 }

// stalledError is the net.Error of a read for which a client took too long.
type stalledError struct{}

// Error implements error.
func (stalledError) Error() string { return link.ErrStalled.Error() }

// Is serves errors.Is: it is a deadline that has passed, and says whose.
func (stalledError) Is(target error) bool {
	return target == link.ErrStalled || target == os.ErrDeadlineExceeded
}

// Timeout implements net.Error.
func (stalledError) Timeout() bool { return true }

// Temporary implements net.Error.
func (stalledError) Temporary() bool { return true }

// deadline is the earlier one of two: the one that net/http and the transports ask for, and one of our own.
type deadline struct {
	set func(time.Time) error

	mu         sync.Mutex
	asked, own time.Time
}

func (d *deadline) ask(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = t
	return d.apply()
}

// bound sets our own; the zero value lifts it.
func (d *deadline) bound(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.own = t
	_ = d.apply() // fails on a closed connection, as does the read that comes next
}

func (d *deadline) apply() error {
	if d.asked.IsZero() || !d.own.IsZero() && d.own.Before(d.asked) {
		return d.set(d.own)
	}
	return d.set(d.asked)
}

// pacedBody holds a body to a pace where it cannot be done on the connection: on HTTP/2, which carries many. It looks after
// each read; how long one read may take is the transport's to say. So a client that sends a little just before that time is
// over can last for two windows instead of one.
type pacedBody struct {
	io.ReadCloser
	pace pace
}

// pacedRequest paces the body of a request on HTTP/2.
func (g *Gateway) pacedRequest(r *http.Request) {
	if r.ProtoMajor >= 2 && r.Body != http.NoBody {
		r.Body = &pacedBody{r.Body, newPace(g.timeouts.client)}
	}
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	began := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.pace.note(time.Since(began), n)
	if err == nil && b.pace.missed() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}
