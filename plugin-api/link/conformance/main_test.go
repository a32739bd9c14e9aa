// Package conformance holds the tests that every transport between the core and a module must pass: what drives only its two
// halves, through a server like the gateway's, and does not look at the bytes between them.
package conformance

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
	"github.com/platformd/platformd/plugin-api/link/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// transport makes the two halves of one.
type transport struct {
	name   string
	client func(http1.ClientConfig) linktest.Client
	serve  func(net.Listener, http1.ServerConfig) server
	// conns is how many connections any number of exchanges need that follow each other.
	conns int32
}

// server is the module's half of a transport.
type server interface {
	Shutdown(ctx context.Context) error
	Close() error
}

func transports() []transport {
	return []transport{
		{
			name:   "http1",
			client: func(c http1.ClientConfig) linktest.Client { return http1.NewClient(c) },
			serve:  func(ln net.Listener, c http1.ServerConfig) server { return http1.Serve(ln, c) },
			conns:  1,
		},
		{
			name:   "link",
			client: func(c http1.ClientConfig) linktest.Client { return mux.NewClient(c) },
			serve:  func(ln net.Listener, c http1.ServerConfig) server { return mux.Serve(ln, c) },
			conns:  3, // frames, a side connection, and HTTP/1.1 for uploads
		},
	}
}

// each runs a test on every transport, in parallel.
func each(t *testing.T, test func(t *testing.T, on transport)) {
	t.Parallel()
	for _, on := range transports() {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel()
			test(t, on)
		})
	}
}

// alone runs a test on every transport, with nothing else in the process: it measures.
func alone(t *testing.T, test func(t *testing.T, on transport)) {
	for _, on := range transports() {
		t.Run(on.name, func(t *testing.T) { test(t, on) })
	}
}

// option changes a rig, or the configuration of its client, before the client is made.
type option = func(*linktest.Rig, *http1.ClientConfig)

// rig makes a rig without a module: the caller serves its Listener and starts its Front.
func (on transport) rig(t testing.TB, options ...option) *linktest.Rig {
	t.Helper()
	r := linktest.NewRig(t)
	config := http1.ClientConfig{Socket: r.Socket, Secret: linktest.Secret(), OnAbort: r.Aborted}
	for _, change := range options {
		change(r, &config)
	}
	r.Client = on.client(config)
	return r
}

// module makes a rig whose module serves with handler.
func (on transport) module(t testing.TB, handler http.HandlerFunc, options ...option) *linktest.Rig {
	t.Helper()
	r := on.rig(t, options...)
	server := on.serve(r.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: handler})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	r.Front.Start()
	return r
}
