package http1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a module behind a Client behind a net/http server. What needs no more than that is tested in package conformance;
// here are the tests that play one half themselves, in plain HTTP/1.1.
type rig struct {
	*linktest.Rig
	client *Client
}

// newRig makes a rig without a module: the caller serves its Listener.
func newRig(t testing.TB, options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	r := &rig{Rig: linktest.NewRig(t)}
	config := ClientConfig{Socket: r.Socket, Secret: linktest.Secret(), OnAbort: r.Aborted}
	for _, option := range options {
		option(r, &config)
	}
	r.client = NewClient(config)
	r.Client = r.client
	return r
}

// serveModule makes a rig whose module is a Server.
func serveModule(t testing.TB, handler http.HandlerFunc, options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	r := newRig(t, options...)
	server := Serve(r.Listener, ServerConfig{Secret: linktest.Secret(), Handler: handler})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	r.Front.Start()
	return r
}

// scriptModule makes a rig whose module does with each connection what script says; it reads the request first.
func scriptModule(t testing.TB, script func(c *peer, r *http.Request), options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	r := newRig(t, options...)
	var scripts sync.WaitGroup
	scripts.Go(func() {
		for {
			c, err := r.Listener.Accept()
			if err != nil {
				return
			}
			scripts.Go(func() {
				defer c.Close()
				reader := bufio.NewReader(c)
				if request, err := http.ReadRequest(reader); err == nil {
					script(&peer{Conn: c, reader: reader}, request)
				}
			})
		}
	})
	t.Cleanup(func() { r.Close(); scripts.Wait() })
	r.Front.Start()
	return r
}

// peer is the module's end of a connection. Its reader may hold what was sent after the request.
type peer struct {
	net.Conn
	reader *bufio.Reader
}

func (p *peer) Read(b []byte) (int, error) { return p.reader.Read(b) }

func (p *peer) CloseWrite() error { return linktest.HalfClose(p.Conn) }

// idle waits for the client to hold n idle connections and no exchange to be under way.
func (r *rig) idle(n int) {
	r.T.Helper()
	require.Eventually(r.T, func() bool {
		r.client.pool.mu.Lock()
		defer r.client.pool.mu.Unlock()
		return len(r.client.pool.idle) == n
	}, linktest.Patience, time.Millisecond)
}

// TestConnectionsAfterBodiesThatWereLeft: what the module may still wait for must not meet the next request.
func TestConnectionsAfterBodiesThatWereLeft(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUpgradeRequired) })
	rig.Do(http.MethodPut, "/", io.LimitReader(linktest.Zeros{}, 1<<30), func(r *http.Request) { r.ContentLength = 1 << 30 })
	rig.idle(0)
	rig.Do(http.MethodGet, "/", nil)
	rig.idle(1)
}
