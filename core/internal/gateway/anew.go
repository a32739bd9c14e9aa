package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/platformd/platformd/core/internal/instance"
)

// maxDecisions bounds how often a request is decided on: each time needs another table, and those do not come often.
const maxDecisions = 4

// movedError says that a request has found an instance of another revision than the manifest that it was decided on by. What it
// may do there, and which handler it is for, has to be asked of the other manifest.
type movedError struct{ module string }

// Error implements error.
func (e *movedError) Error() string { return "module " + e.module + " is being upgraded" }

// Unwrap is what the client is told if nothing comes of deciding anew.
func (e *movedError) Unwrap() error { return unavailable(e.Error(), retrySoon) }

// decideAnew takes a request that was turned away, or has found that its module has moved on, through the routes as they are by
// now. It returns false if there is no other outcome to be expected: then err is the answer.
func (g *Gateway) decideAnew(a *answer, r *http.Request, err error) bool {
	var moved *movedError
	if a.status != 0 || a.sent && !errors.As(err, &moved) || a.decisions >= maxDecisions || a.decided == g.table.Load() {
		return false
	}
	if errors.Is(err, errClientGone) {
		return false
	}
	g.route(a, r)
	return true
}

// ours gives an instance back that is of another revision than the route.
func (t *trial) ours(inst *instance.Instance) (*instance.Instance, error) {
	if inst.Revision() == t.revision {
		return inst, nil
	}
	if t.endless() {
		inst.ReleaseStream()
	} else {
		inst.Release()
	}
	t.body.handOver()
	return nil, &movedError{module: t.module}
}

// handOver lets whoever gets the request next read the body from its beginning, after release. The state is not bodyLost.
func (b *keptBody) handOver() {
	if b.state() == bodyWhole {
		b.ReadCloser = &repeated{Reader: bytes.NewReader(slices.Clone(b.kept)), Closer: b.ReadCloser}
	}
}

// repeated is a body that has been read already.
type repeated struct {
	io.Reader
	io.Closer
}
