package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// requireEnd waits for Serve to return.
func (f *fixture) requireEnd(within time.Duration) {
	f.t.Helper()
	select {
	case err := <-f.ended: // the channel is closed afterwards: the cleanup finds nil
		require.NoError(f.t, err)
	case <-time.After(within):
		require.Fail(f.t, "Serve does not return")
	}
}

// TestDrainResetsNobody: clients that keep their connections alive and busy are told to close them.
func TestDrainResetsNobody(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	var served atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.addr)
				if errors.Is(err, syscall.ECONNREFUSED) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if err := keepAlive(conn, &served); err != nil {
					t.Errorf("a client saw: %v", err)
					return
				}
			}
		})
	}
	require.Eventually(t, func() bool { return served.Load() > 100 }, soon, time.Millisecond)
	before := served.Load()
	f.stop()
	clients.Wait()
	f.requireEnd(soon)
	require.Greater(t, served.Load(), before, "nobody was served while it drained")
}

// keepAlive sends requests on one connection until the server says that it will close it.
func keepAlive(conn net.Conn, served *atomic.Int64) error {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		if _, err := io.WriteString(conn, "POST /api/v1/echo/post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"); err != nil {
			return err
		}
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		served.Add(1)
		if response.Close {
			return nil
		}
	}
}

// TestDrainLetsRequestsEnd, and says that it is not ready meanwhile.
func TestDrainLetsRequestsEnd(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	inFlight := f.wait()
	f.stop()
	require.Eventually(t, f.gateway.draining.Load, soon, time.Millisecond)
	w := newRecorder(f, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "stopping")
	require.Eventually(t, f.gateway.closing.Load, soon, time.Millisecond)
	answer := inFlight.finish()
	require.Equal(t, "done\n", answer.body)
	require.True(t, answer.closed)
	f.requireEnd(soon)
}

// TestDrainCutsWhatDoesNotEnd, in bounded time.
func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	f, inst := withEcho(t, func(d *Deps) { d.Server.DrainTimeout = 300 * time.Millisecond })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.addr+"/api/v1/echo/patient?began=/dev/null", nil)
	require.NoError(t, err)
	cut := make(chan error, 1)
	go func() { _, err := f.client.Do(r); cut <- err }()
	require.Eventually(t, func() bool { return f.gateway.handlers.n.Load() == 1 }, soon, time.Millisecond)
	began := time.Now()
	f.stop()
	f.requireEnd(soon)
	require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
	require.Error(t, <-cut)
	require.Contains(t, f.log.String(), "drainTimeout")
	inst.Stop(t.Context())
}

// TestDrainEndsStreams: nobody waits for what has no end.
func TestDrainEndsStreams(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.DrainTimeout = time.Hour })
	events := f.open("/api/v1/echo/feed")
	readFirst(t, events)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+f.addr+"/api/v1/echo/socket", nil)
	require.NoError(t, err)
	defer func() { _ = conn.CloseNow() }()
	f.stop()
	_, err = io.Copy(io.Discard, events.Body)
	require.Error(t, err, "an end that looks natural")
	require.NoError(t, events.Body.Close())
	_, _, err = conn.Read(ctx)
	require.Error(t, err)
	require.NoError(t, ctx.Err())
	f.requireEnd(soon)
}

// TestDrainWaitsForUpgradedConnections, which http.Server forgets.
func TestDrainWaitsForUpgradedConnections(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	f.gateway.handlers.add(1) // a handler that still cleans up
	f.stop()
	select {
	case err := <-f.ended:
		require.Fail(t, "Serve returned while a handler was running", "%v", err)
	case <-time.After(300 * time.Millisecond):
	}
	f.gateway.handlers.add(-1)
	f.requireEnd(soon)
}

// TestDrainWithoutClientsIsQuick: there is nobody to wait for.
func TestDrainWithoutClientsIsQuick(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"plain": nil, "tls": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, change)
			require.Equal(t, http.StatusOK, f.get("/livez").status)
			f.client.CloseIdleConnections()
			require.Eventually(t, func() bool { return f.gateway.conns.n.Load() == 0 }, soon, time.Millisecond)
			began := time.Now()
			f.stop()
			f.requireEnd(soon)
			require.Less(t, time.Since(began), drainGrace/2)
		})
	}
}

// TestServeFailsWithItsListener, and leaves nothing running.
func TestServeFailsWithItsListener(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"plain": nil, "tls": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deps := newDeps(io.Discard)
			if change != nil {
				change(&deps)
			}
			g, err := New(deps)
			require.NoError(t, err)
			ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, ln.Close())
			require.ErrorContains(t, g.Serve(t.Context(), ln), ln.Addr().String())
		})
	}
}
