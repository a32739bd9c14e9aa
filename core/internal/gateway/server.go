package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// timeouts are how long clients get. Tests shorten them.
type timeouts struct {
	// head is for the head of a request, and for a TLS handshake.
	head time.Duration
	// client is for a short exchange, or for taking a refusal. Long exchanges are timed by http1.Client, piece by piece.
	client time.Duration
	// auth is for one look at a token.
	auth time.Duration
}

func defaultTimeouts() timeouts {
	return timeouts{head: 10 * time.Second, client: 10 * time.Second, auth: 5 * time.Second}
}

const (
	// idleTimeout is how long a connection is kept for the next request.
	idleTimeout = 2 * time.Minute
	// maxHead is what the head of a request may have, in bytes: more is answered with 431.
	maxHead = 32 << 10
	// headSlack is what net/http adds to MaxHeaderBytes.
	headSlack = 4 << 10

	// drainGrace is how long a drain gives to those who send requests: half of it to notice that /readyz says no, half to be
	// told "Connection: close".
	drainGrace = time.Second
	// cutTimeout is how long requests get to end after their connections have been cut.
	cutTimeout = time.Second
)

// Serve answers on ln until ctx ends, then drains: /readyz says no; soon ln is closed, and each answer asks its client to
// close the connection; then idle connections are closed, endless streams end, and other requests get the rest of
// server.drainTimeout, after which they are cut. Serve returns when nothing runs any more; call it once. An error means that
// it could not go on, not that a request was cut.
//
// ln is closed before clients are asked to reconnect: a connection that the system has accepted, but the gateway has not,
// would be reset.
func (g *Gateway) Serve(ctx context.Context, ln net.Listener) error {
	server, address := g.newServer(), ln.Addr()
	ln = g.listener(ln)
	var err error
	ended := make(chan struct{})
	go func() { defer close(ended); err = server.Serve(ln) }()
	select {
	case <-ended:
		_ = ln.Close()
		g.stop(context.WithoutCancel(ctx), server, 0)
		return fmt.Errorf("serve HTTP on %s: %w", address, err)
	case <-ctx.Done():
	}
	g.drain(context.WithoutCancel(ctx), server, ln)
	<-ended // because ln is closed
	return nil
}

func (g *Gateway) newServer() *http.Server {
	server := &http.Server{
		Handler:                      g.Handler(),
		ReadHeaderTimeout:            g.timeouts.head,
		ReadTimeout:                  g.timeouts.client,
		WriteTimeout:                 g.timeouts.client,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHead - headSlack,
		DisableGeneralOptionsHandler: true, // OPTIONS * is refused like any other target that is no path
		ErrorLog:                     g.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
		ConnState:                    g.countConns,
		ConnContext:                  offerSocket,
		// On HTTP/1 each piece of an answer has its own deadline.
		HTTP2: &http.HTTP2Config{WriteByteTimeout: g.timeouts.client},
	}
	if g.certs != nil {
		server.TLSConfig = g.certs.config() // tells net/http that connections may speak HTTP/2
	}
	return server
}

// listener adds to ln what net/http lacks.
func (g *Gateway) listener(ln net.Listener) net.Listener {
	ln = g.newLimitedListener(ln)
	if g.certs != nil {
		ln = newTLSListener(ln, g.certs.config(), g.timeouts.head, g.log)
	}
	return checkedListener{ln, g.timeouts.client}
}

func (g *Gateway) countConns(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		g.conns.add(1)
	case http.StateHijacked, http.StateClosed:
		g.conns.add(-1)
	case http.StateActive, http.StateIdle:
	}
}

func (g *Gateway) drain(ctx context.Context, server *http.Server, ln net.Listener) {
	began, timeout := time.Now(), g.server.DrainTimeout
	grace := min(drainGrace, timeout/2)
	g.draining.Store(true)
	g.awaitConns(ctx, grace/2)
	_ = ln.Close()
	g.closing.Store(true)
	g.awaitConns(ctx, grace/2)
	g.stop(ctx, server, timeout-time.Since(began))
}

// awaitConns waits until no client is connected, but not longer than the patience.
func (g *Gateway) awaitConns(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	g.conns.wait(ctx)
}

// stop closes the server; requests get the timeout to end by themselves.
func (g *Gateway) stop(ctx context.Context, server *http.Server, timeout time.Duration) {
	g.endStreams()
	patient, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := server.Shutdown(patient); err == nil && g.handlers.wait(patient) { // Shutdown forgets hijacked connections
		return
	}
	g.log.Warn("requests were still running at the end of server.drainTimeout; they are cut", "requests", g.handlers.n.Load())
	_ = server.Close() // what it could not close is closed already
	cut, cancelCut := context.WithTimeout(ctx, cutTimeout)
	defer cancelCut()
	if !g.handlers.wait(cut) {
		g.log.Error("requests did not end though they were cut", "requests", g.handlers.n.Load())
	}
}
