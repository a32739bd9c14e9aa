package http1

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func TestSequentialRequestsShareOneConnection(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chunked" {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = io.WriteString(w, "ok")
	})
	for i := range 50 {
		path := "/"
		if i%2 == 0 {
			path = "/chunked"
		}
		_, body := rig.Do(http.MethodPost, path, strings.NewReader("x"))
		require.Equal(t, "ok", body)
	}
	require.EqualValues(t, 1, rig.Listener.Accepted.Load())
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ maxIdle, want int }{{2, 2}, {-1, 0}, {0, 5}} {
		arrived, release := make(chan struct{}), make(chan struct{})
		rig := serveModule(t, func(http.ResponseWriter, *http.Request) {
			arrived <- struct{}{}
			<-release
		}, func(_ *rig, c *ClientConfig) { c.MaxIdle = test.maxIdle })
		var requests sync.WaitGroup
		for range 5 {
			requests.Go(func() { rig.Do(http.MethodGet, "/", nil) })
		}
		for range 5 {
			<-arrived
		}
		close(release)
		requests.Wait()
		rig.idle(test.want)
	}
}

func TestLastUsedConnectionIsUsedFirst(t *testing.T) {
	t.Parallel()
	p := pool{maxIdle: 3}
	var put []*conn
	for range 3 {
		c, _ := connPair(t)
		p.put(c)
		put = append(put, c)
	}
	for i := range 3 {
		c, err := p.get()
		require.NoError(t, err)
		require.Same(t, put[2-i], c)
	}
	c, err := p.get()
	require.NoError(t, err)
	require.Nil(t, c)
}

// connPair returns two ends of a connection.
func connPair(t *testing.T) (*conn, net.Conn) {
	t.Helper()
	ln := linktest.Listen(t, linktest.SocketPath(t))
	unix, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: ln.Addr().String()})
	require.NoError(t, err)
	peer, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(); _ = peer.Close() })
	c, err := newConn(unix)
	require.NoError(t, err)
	return c, peer
}

func TestStaleConnectionsAreNoticedBeforeUse(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(c *conn, peer net.Conn){
		"closed by the module":    func(_ *conn, peer net.Conn) { _ = peer.Close() },
		"half-closed":             func(_ *conn, peer net.Conn) { _ = linktest.HalfClose(peer) },
		"unasked bytes":           func(_ *conn, peer net.Conn) { _, _ = io.WriteString(peer, "HTTP/1.1 200 OK\r\n\r\n") },
		"closed on our own side":  func(c *conn, _ net.Conn) { _ = c.Close() },
		"closed with data unread": func(c *conn, peer net.Conn) { _, _ = c.Write([]byte("x")); _ = peer.Close() },
	} {
		c, peer := connPair(t)
		require.True(t, c.alive(), name)
		spoil(c, peer)
		require.False(t, c.alive(), name)
	}
}

// staleModule is a module whose first connection answers one request, then does with the next what stale says; later
// connections answer 200. It counts the requests that it read after the first.
func staleModule(t *testing.T, stale func(c *peer)) (r *rig, later func() int) {
	t.Helper()
	var mu sync.Mutex
	count, first := 0, true
	answer := func(c *peer) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
	r = scriptModule(t, func(c *peer, _ *http.Request) {
		mu.Lock()
		isFirst := first
		first = false
		if !isFirst {
			count++
		}
		mu.Unlock()
		answer(c)
		if isFirst {
			stale(c)
		}
	})
	return r, func() int { mu.Lock(); defer mu.Unlock(); return count }
}

func TestConnectionThatTheModuleGaveUpIsReplaced(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "small", strings.Repeat("large", 20<<10)} {
		closed := make(chan struct{})
		rig, later := staleModule(t, func(c *peer) { _ = c.Close(); close(closed) })
		rig.Do(http.MethodGet, "/", nil)
		<-closed
		res, _ := rig.Do(http.MethodPost, "/", strings.NewReader(body))
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, 1, later())
	}
}

// What a module sends without being asked must not become the answer to somebody's next request.
func TestUnaskedBytesAreNoAnswer(t *testing.T) {
	t.Parallel()
	idle, sent, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	rig, later := staleModule(t, func(c *peer) {
		<-idle // or the bytes would come with the first answer, which is another case
		_, _ = io.WriteString(c, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")
		close(sent)
		<-done
	})
	defer close(done)
	rig.Do(http.MethodGet, "/", nil)
	rig.idle(1)
	close(idle)
	<-sent
	res, _ := rig.Do(http.MethodPost, "/", nil)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Equal(t, 1, later())
}

// The module has stopped reading on an idle connection that it has not closed: nothing can be sent, so nothing was seen.
func TestRequestThatCannotHaveBeenSeenIsRepeated(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "small", strings.Repeat("large", 20<<10)} {
		deaf, done := make(chan struct{}), make(chan struct{})
		rig, later := staleModule(t, func(c *peer) {
			if unix, ok := c.Conn.(*net.UnixConn); ok {
				_ = unix.CloseRead()
			}
			close(deaf)
			<-done
		})
		rig.Do(http.MethodGet, "/", nil)
		<-deaf
		res, _ := rig.Do(http.MethodPost, "/", strings.NewReader(body))
		close(done)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, 1, later())
	}
}

func TestRepeatThatFindsNoModule(t *testing.T) {
	t.Parallel()
	rig, later := staleModule(t, func(c *peer) { _, _ = http.ReadRequest(c.reader) })
	rig.Do(http.MethodGet, "/", nil)
	require.NoError(t, rig.Listener.Close())
	res, _ := rig.Do(http.MethodGet, "/", nil)
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.Zero(t, later())
	var failed *link.ExchangeError
	require.ErrorAs(t, rig.Results()[1], &failed)
	require.True(t, failed.Reached, "by the first attempt")
}

// The module reads the request on a reused connection, and closes it without an answer: it may have acted on it.
func TestRequestThatMayHaveBeenSeenIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, body string
		repeated     bool
	}{
		{http.MethodGet, "", true},
		{http.MethodHead, "", true},
		{http.MethodOptions, "", true},
		{http.MethodGet, "small", true},
		{http.MethodPost, "", false},
		{http.MethodPost, "small", false},
		{http.MethodPut, "small", false},
		{http.MethodPatch, "", false},
		{http.MethodDelete, "", false},
		{http.MethodGet, strings.Repeat("large", 20<<10), false}, // the client's body is gone
	} {
		seen := make(chan struct{}, 1)
		rig, later := staleModule(t, func(c *peer) {
			if _, err := http.ReadRequest(c.reader); err == nil {
				seen <- struct{}{}
			}
		})
		rig.Do(http.MethodGet, "/", nil)
		res, _ := rig.Do(test.method, "/", strings.NewReader(test.body))
		<-seen
		if test.repeated {
			require.Equal(t, http.StatusOK, res.StatusCode, test.method)
			require.Equal(t, 1, later(), test.method)
			continue
		}
		require.Equal(t, http.StatusBadGateway, res.StatusCode, test.method)
		require.Zero(t, later(), test.method)
		var failed *link.ExchangeError
		require.ErrorAs(t, rig.Results()[1], &failed)
		require.True(t, failed.Reached, test.method)
	}
}

func TestSafeRequestIsRepeatedOnce(t *testing.T) {
	t.Parallel()
	requests := 0
	rig := scriptModule(t, func(c *peer, _ *http.Request) {
		if requests++; requests == 1 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = http.ReadRequest(c.reader)
		}
	})
	rig.Do(http.MethodGet, "/", nil)
	res, _ := rig.Do(http.MethodGet, "/", nil)
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.EqualValues(t, 2, rig.Listener.Accepted.Load())
}

// On a new connection a failure is not put down to staleness, however safe the method is.
func TestFailureOnANewConnectionIsNotRepeated(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(*peer, *http.Request) {})
	res, _ := rig.Do(http.MethodGet, "/", nil)
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.EqualValues(t, 1, rig.Listener.Accepted.Load())
}

func TestClosedClient(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	started := make(chan struct{})
	rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			started <- struct{}{}
			<-release
		}
	})
	rig.Do(http.MethodGet, "/", nil)
	status := make(chan int)
	go func() {
		res, _ := rig.Do(http.MethodGet, "/wait", nil)
		status <- res.StatusCode
	}()
	<-started
	rig.client.Close()
	close(release)
	require.Equal(t, http.StatusOK, <-status, "an exchange under way ends as it would have")
	rig.idle(0)
	rig.Do(http.MethodGet, "/", nil)
	var failed *link.ExchangeError
	require.ErrorAs(t, rig.Results()[2], &failed)
	require.ErrorIs(t, failed, link.ErrClosed)
	require.False(t, failed.Reached)
}
