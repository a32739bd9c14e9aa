// Package calls is how modules call each other's gRPC services: it judges each call of a module's, finds an instance of the
// module that it is for, and passes the call on.
//
// Floor 4. Who calls is the owner of the socket on which the call comes; the owner's manifest is the ceiling, and on whose behalf
// it calls is shown by the ticket of the request. It must not read messages: package passthrough carries them as they are.
package calls

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/passthrough"
	"github.com/platformd/platformd/plugin-api/manifest"
)

const (
	// maxStreams bounds the calls of one process of a module, maxConns its connections.
	maxStreams = 1024
	maxConns   = 4
	// maxTimeout bounds a call that is answered with one message, whatever its caller allows. Streams may be without end.
	maxTimeout = time.Hour
	// grace is how much longer than its time a call is waited for: who made it and who answers it end it themselves.
	grace = 100 * time.Millisecond
	// dialTimeout bounds a new connection to a module.
	dialTimeout = 2 * time.Second
)

// Deps is what the room looks things up in. All fields are required, except for those that say so.
type Deps struct {
	Instances *instance.Registry
	// Manifest returns an installed module's; nil if it is not installed.
	Manifest func(module string) *manifest.Manifest
	// Method returns a method that a module served when it last started, by its full name.
	Method func(module, method string) (contracts.Method, bool)
	// Fits returns an error if the caller was built for another form of the callee's method.
	Fits func(caller, callee, method string) error

	// ReadTicket, Derive and Mint are auth.Service's.
	ReadTicket func(ctx context.Context, ticket, audience string) (auth.Ticket, error)
	Derive     func(from *auth.Ticket, audience string) string
	Mint       func(who *auth.Identity, audience, requestID string) (ticket string, expires time.Time)
	// Record writes an audit entry, as far as there is room.
	Record func(audit.Entry)

	Log hclog.Logger
	// Metrics is optional.
	Metrics prometheus.Registerer
	// Hold is how long a call waits for a module that is coming.
	Hold time.Duration
	// Timeout is the time of a call whose caller gives it none, streams apart.
	Timeout time.Duration
}

// Calls passes calls between modules on. It is safe for concurrent use.
type Calls struct {
	deps    Deps
	metrics *metrics
	waiting sync.WaitGroup // goroutines of calls that wait for something

	mu      sync.RWMutex // guards the rest
	pairs   map[pairKey]*pair
	callees map[*instance.Instance]*callee
}

// New returns a Calls.
func New(deps Deps) *Calls {
	return &Calls{
		deps: deps, metrics: newMetrics(deps.Metrics), pairs: make(map[pairKey]*pair), callees: make(map[*instance.Instance]*callee),
	}
}

// Serve returns what serves the calls that an instance of the module makes, as instance.Spec.Calls.
func (c *Calls) Serve(m *manifest.Manifest) func(*instance.Instance, *net.UnixListener) {
	return func(inst *instance.Instance, l *net.UnixListener) {
		c.serve(m, l, inst.CheckCaller)
	}
}

func (c *Calls) serve(m *manifest.Manifest, l *net.UnixListener, check func(*net.UnixConn) error) {
	server := passthrough.NewServer(&caller{calls: c, manifest: m}, passthrough.Limits{Streams: maxStreams, Conns: maxConns})
	server.Serve(l, func(conn *net.UnixConn) error {
		err := check(conn)
		if err != nil {
			c.deps.Log.Warn("refused a connection to a module's calls socket", "module", m.Name, "error", err)
		}
		return err
	})
}

// Attach connects to an instance that provides services, so that it can be called, until its end.
func (c *Calls) Attach(ctx context.Context, inst *instance.Instance) error {
	k := newCallee(inst)
	if _, err := k.connect(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.callees[inst] = k
	c.mu.Unlock()
	inst.OnEnd(func() {
		c.mu.Lock()
		delete(c.callees, inst)
		c.mu.Unlock()
		k.close()
	})
	return nil
}

// Wait returns when no call waits any more. Every instance has ended by then.
func (c *Calls) Wait() { c.waiting.Wait() }

func (c *Calls) callee(inst *instance.Instance) *callee {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.callees[inst]
}

// Status is how the calls of one module to another fare.
type Status struct {
	Caller     string
	Callee     string
	InProgress int
	Calls      uint64 // that have ended
	Failed     uint64 // those of them that did not end with OK
	Retries    uint64
	// Breaker is "closed", or "open" or "half-open" when calls are not passed on because they failed.
	Breaker string
}

// Statuses returns those of all modules that have called another, by name.
func (c *Calls) Statuses() []Status {
	c.mu.RLock()
	defer c.mu.RUnlock()
	all := make([]Status, 0, len(c.pairs))
	for _, p := range c.pairs {
		all = append(all, p.status())
	}
	slices.SortFunc(all, func(a, b Status) int {
		return strings.Compare(a.Caller+"\x00"+a.Callee, b.Caller+"\x00"+b.Callee)
	})
	return all
}
