package calls

import (
	"net"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// ServeOn serves calls of a module's that has no process: the test makes them.
func (c *Calls) ServeOn(m *manifest.Manifest, l *net.UnixListener) {
	c.serve(m, l, func(*net.UnixConn) error { return nil })
}

// Deps lets a test put something else in the place of what calls look things up in, before there are any.
func (c *Calls) Deps() *Deps { return &c.deps }

// MaxInProgress is the limit of one pair.
const MaxInProgress = maxInProgress

// BreakerFailures open the breaker.
const BreakerFailures = breakerFailures
