// Package gateway is the platform's front door: it decides what an HTTP request may reach, and hands it to an instance of the
// module whose route it is, or to the platform itself. A request is identified, its path checked, routed, authenticated,
// authorized and limited, in this order; whatever is not allowed by a manifest and a token is refused.
//
// Floor 4. It must not start, stop or probe modules: it finds instances in the Registry and says why there are none. It
// must not keep tokens or permissions either: auth and authz judge them. It alone imports gin.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/instance"
)

// Deps is what a Gateway is made of. Fields are required unless they say what nil means. The funcs are called by many requests
// at a time.
type Deps struct {
	Log       hclog.Logger
	Instances *instance.Registry
	// Authenticate returns who holds the secret, or auth.ErrInvalidToken. After any other error nobody is let in.
	Authenticate func(ctx context.Context, secret string) (auth.Identity, error)
	// Decide tells whether somebody may do what the permission says. After an error nobody is let in. It is asked by every request
	// to a route with a permission, and must not wait. Nil: nobody may do anything.
	Decide func(who authz.Holder, permission string) (bool, error)
	// Ticket returns what stands for a caller when the module, during that request, asks something of the core. Nil: modules get
	// none.
	Ticket func(caller auth.Identity, module, requestID string) (string, error)
	// Ruled is told of every request that a route's guard turns away, and of those it lets in by a permission to change something
	// of a module. It must not wait. Nil: nobody is told.
	Ruled func(Ruling)
	// Platform is what the platform answers itself.
	Platform []PlatformRoute
	// Ready is asked by every /readyz.
	Ready func() Readiness
	// Metrics is where the gateway registers its own collectors, and what /metrics shows.
	Metrics *prometheus.Registry
	// Server is the section server of config.yaml, except Listen: who calls Serve has listened.
	Server config.Server
}

// Gateway is the platform's HTTP server. Its methods are safe for concurrent use.
type Gateway struct {
	log          hclog.Logger
	instances    *instance.Registry
	authenticate func(ctx context.Context, secret string) (auth.Identity, error)
	decide       func(who authz.Holder, permission string) (bool, error)
	ticket       func(caller auth.Identity, module, requestID string) (string, error)
	ruled        func(Ruling)
	ready        func() Readiness
	server       config.Server
	timeouts     timeouts

	unchecked, undecided, ticketless seldom // complaints

	metrics    *metrics
	forwarding forwarding
	certs      *certificates // nil without TLS
	census     *census
	routed     http.Handler // from CORS inwards
	own        []*route     // that the platform answers itself

	table atomic.Pointer[table]

	draining atomic.Bool // /readyz says no
	closing  atomic.Bool // answers ask clients to close their connections
	handlers tally       // requests being handled
	conns    tally       // clients' connections
	// streams ends when nobody should wait for endless exchanges any longer.
	streams    context.Context
	endStreams context.CancelFunc
}

// New returns a Gateway that serves the probes, the metrics and the platform's own routes, but no module yet.
func New(deps Deps) (*Gateway, error) {
	g := &Gateway{
		log: deps.Log, instances: deps.Instances, authenticate: deps.Authenticate, decide: deps.Decide, ticket: deps.Ticket,
		ruled: deps.Ruled, ready: deps.Ready, server: deps.Server,
		timeouts: defaultTimeouts(), handlers: newTally(), conns: newTally(),
	}
	var err error
	if g.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, fmt.Errorf("register the gateway's metrics: %w", err)
	}
	if g.forwarding, err = newForwarding(deps.Server); err != nil {
		return nil, err
	}
	g.census = newCensus(deps.Server, g.forwarding.trusts, deps.Log)
	if err := errors.Join(
		g.metrics.countConnections(deps.Metrics, g.census), g.metrics.countHeld(deps.Metrics, g.instances),
	); err != nil {
		return nil, fmt.Errorf("register the gateway's metrics: %w", err)
	}
	if deps.Server.TLS.Cert != "" {
		if g.certs, err = newCertificates(deps.Server.TLS, deps.Log); err != nil {
			return nil, err
		}
	}
	if g.own, err = g.ownRoutes(deps.Platform); err != nil {
		return nil, err
	}
	g.routed = withCORS(deps.Server.CORS.Origins, http.HandlerFunc(g.route))
	g.streams, g.endStreams = context.WithCancel(context.Background())
	g.SetModules(nil, nil)
	return g, nil
}

// Handler returns the gateway as it answers on one connection; Serve adds what belongs to connections.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serveHTTP) }

func (g *Gateway) serveHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w, closing: &g.closing, began: time.Now()}
	g.handlers.add(1)
	defer g.finish(a, r)
	identify(a.Header(), r.Header)
	if err := checkTarget(r); err != nil {
		g.refuse(a, r, badPath(err))
		return
	}
	g.pacedRequest(r)
	g.routed.ServeHTTP(a, r)
}

func (g *Gateway) route(w http.ResponseWriter, r *http.Request) {
	now := g.table.Load()
	if a, ok := w.(*answer); ok {
		a.decided = now
		a.decisions++
	}
	now.engine.ServeHTTP(w, r)
}

// finish is deferred around each request.
func (g *Gateway) finish(a *answer, r *http.Request) {
	cause := recover()
	defer g.handlers.add(-1)
	if cause != nil && cause != http.ErrAbortHandler { //nolint:errorlint // net/http too knows it by identity
		g.log.Error("the gateway panicked", "request_id", a.Header().Get(headerRequestID), "method", r.Method,
			"path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
		if a.status == 0 {
			g.refuse(a, r, internalError())
			cause = nil
		}
	}
	g.metrics.observe(a, r)
	if g.log.IsDebug() {
		g.log.Debug("request", "request_id", a.Header().Get(headerRequestID), "method", r.Method, "path", r.URL.Path,
			"status", a.status, "took", time.Since(a.began))
	}
	if cause != nil {
		panic(http.ErrAbortHandler)
	}
}
