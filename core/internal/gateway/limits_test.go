package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
)

// dial connects; the connection is closed at the end of the test.
func (f *fixture) dial() *net.TCPConn {
	f.t.Helper()
	conn, err := new(net.Dialer).DialTCP(f.t.Context(), "tcp", netip.AddrPort{}, netip.MustParseAddrPort(f.addr))
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(f.t, conn.SetDeadline(time.Now().Add(2*soon)))
	return conn
}

func (f *fixture) awaitConns(n int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { return f.gateway.census.count() == n }, soon, time.Millisecond)
}

const liveness = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	for key, server := range map[string]func(*config.Server){
		"server.maxConnections":          func(s *config.Server) { s.MaxConnections, s.MaxConnectionsPerClient = 3, 0 },
		"server.maxConnectionsPerClient": func(s *config.Server) { s.MaxConnections, s.MaxConnectionsPerClient = 0, 3 },
	} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			f := start(t, func(d *Deps) { server(&d.Server) })
			var conns []net.Conn
			for range 3 {
				conns = append(conns, f.dial())
				require.Equal(t, http.StatusOK, f.rawOn(conns[len(conns)-1], liveness).status)
			}
			for range 5 {
				for _, sent := range []string{"", liveness, "GET /" + strings.Repeat("a", 100<<10)} { // whatever it says, or does not
					refused := f.rawLong(sent)
					require.Equal(t, http.StatusServiceUnavailable, refused.status)
					require.Equal(t, "1", refused.header.Get("Retry-After"))
					require.True(t, refused.closed)
					require.Contains(t, refused.body, `"code":"unavailable"`)
				}
			}
			require.Contains(t, f.log.String(), key)
			require.Equal(t, http.StatusOK, f.rawOn(conns[0], liveness).status, "those that are in stay in")
			metrics := f.rawOn(conns[0], get("/metrics")).body
			require.Contains(t, metrics, `platformd_http_connections_refused_total{limit="`+key+`"} 15`)
			require.Contains(t, metrics, "platformd_http_connections 3\n")

			require.NoError(t, conns[1].Close())
			f.awaitConns(2)
			require.Equal(t, http.StatusOK, f.raw(liveness).status)
		})
	}
}

// TestFarewell: a refused client may still be sending when it is told so; to close then would reset the connection, and might
// cost it the answer.
func TestFarewell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &limitedListener{busy: busyAnswer(), closed: t.Context()}
		server, client := net.Pipe()
		began, done := time.Now(), make(chan struct{})
		go func() { defer close(done); l.bidFarewell(halfConn{server}) }()
		response, err := http.ReadResponse(bufio.NewReader(client), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		for range 3 {
			_, err := io.WriteString(client, liveness)
			require.NoError(t, err)
		}
		<-done // though the client never leaves
		require.Equal(t, farewellTime, time.Since(began))
		require.NoError(t, client.Close())
	})
}

type halfConn struct{ net.Conn }

// CloseWrite pretends.
func (halfConn) CloseWrite() error { return nil }

// TestConnectionLimitKnowsProxies: behind one address are many clients, if it is that of a trusted proxy.
func TestConnectionLimitKnowsProxies(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) {
		d.Server.TrustedProxies, d.Server.MaxConnections, d.Server.MaxConnectionsPerClient = []string{"127.0.0.0/8"}, 4, 2
	})
	for range 4 {
		require.Equal(t, http.StatusOK, f.rawOn(f.dial(), liveness).status)
	}
	require.Equal(t, http.StatusServiceUnavailable, f.raw("").status, "the limit of all holds for everybody")
}

// TestConnectionLimitOverTLS: who awaits a handshake would not understand an answer.
func TestConnectionLimitOverTLS(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) { d.Server.TLS, d.Server.MaxConnections = newPair(t, "one").files, 1 })
	first := f.dial() // counts before its handshake
	f.awaitConns(1)
	text, err := io.ReadAll(f.dial())
	require.NoError(t, err)
	require.Empty(t, text)
	require.Equal(t, http.StatusOK, f.rawOn(tls.Client(first, &tls.Config{InsecureSkipVerify: true}), liveness).status)
}

// TestUpgradedConnectionsCount, to their end.
func TestUpgradedConnectionsCount(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.MaxConnections = 1 })
	tunnel := f.dial()
	f.upgrade(tunnel)
	require.Zero(t, f.gateway.conns.n.Load(), "net/http has forgotten it")
	require.Equal(t, http.StatusServiceUnavailable, f.raw("").status)
	require.NoError(t, tunnel.Close())
	f.awaitConns(0)
	require.Equal(t, http.StatusOK, f.raw(liveness).status)
}

// upgrade opens the echo module's tunnel on conn.
func (f *fixture) upgrade(conn net.Conn) {
	f.t.Helper()
	_, err := io.WriteString(conn, ask("tunnel", "Connection: Upgrade", "Upgrade: websocket"))
	require.NoError(f.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(f.t, err)
	require.NoError(f.t, response.Body.Close())
	require.Equal(f.t, http.StatusSwitchingProtocols, response.StatusCode)
}

// TestManyRefusals: more than are told why. Nobody hangs, and a drain does not wait for them.
func TestManyRefusals(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) { d.Server.MaxConnections = 1 })
	last := f.dial()
	f.awaitConns(1)
	var clients sync.WaitGroup
	for range maxFarewells + 50 {
		conn := f.dial()
		clients.Go(func() {
			if text, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a refused client waits, after %q", text)
			}
		})
	}
	clients.Wait()
	require.NoError(t, last.Close())
	f.stop()
	f.requireEnd(soon)
}

func TestCensus(t *testing.T) {
	t.Parallel()
	c := newCensus(config.Server{MaxConnectionsPerClient: 1}, func(netip.Addr) bool { return false }, hclog.NewNullLogger())
	admit := func(text string) string {
		addr, _ := netip.ParseAddr(text)
		_, limit := c.admit(addr)
		return limit
	}
	for _, free := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "", ""} {
		require.Empty(t, admit(free), free)
	}
	for _, taken := range []string{"192.0.2.1", "2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff"} {
		require.Equal(t, "server.maxConnectionsPerClient", admit(taken), taken)
	}
	require.Equal(t, 6, c.count())
	for _, text := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::", "2001:db8:0:1::"} {
		c.leave(netip.MustParseAddr(text))
	}
	c.leave(netip.Addr{})
	c.leave(netip.Addr{})
	require.Zero(t, c.count())
	require.Empty(t, c.clients, "who has left is forgotten")
	mapped, err := netip.ParseAddr("192.0.2.1")
	require.NoError(t, err)
	require.Equal(t, mapped, addressOf(fakeConn{remote: &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1")}}))
	require.False(t, addressOf(fakeConn{remote: &net.UnixAddr{Name: "@"}}).IsValid())
}

type fakeConn struct {
	net.Conn
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c fakeConn) RemoteAddr() net.Addr { return c.remote }

// TestWithinDescriptors: the limit leaves room for modules.
func TestWithinDescriptors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit int
		files uint64
		want  int
	}{
		{10_000, 1 << 20, 10_000}, {10_000, 20_512, 10_000}, {10_000, 20_000, 9744}, {10_000, 1024, 256}, {10, 100, 1},
		{0, 1024, 0}, {10_000, 0, 10_000}, {1 << 62, 1<<64 - 1, 1 << 62}, {1 << 62, 1 << 20, 1<<19 - 256},
	} {
		require.Equal(t, c.want, withinDescriptors(c.limit, c.files, hclog.NewNullLogger()), c)
	}
	require.Positive(t, openFiles())
}

func TestPace(t *testing.T) {
	t.Parallel()
	p := newPace(10 * time.Second) // asks for 2400 bytes
	for range 100 {
		p.note(9*time.Second, 2400)
		require.False(t, p.missed(), "slow, but fast enough")
	}
	for range 9 {
		p.note(time.Second, 200)
		require.False(t, p.missed())
	}
	p.note(time.Second, 200)
	require.True(t, p.missed())
	p.begin()
	for range 9 {
		p.note(time.Second, 266)
		require.False(t, p.missed())
	}
	p.note(time.Second, 6)
	require.False(t, p.missed())
}

// TestDeadline: whatever the order in which they are set, the earlier one holds.
func TestDeadline(t *testing.T) {
	t.Parallel()
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	var got time.Time
	d := deadline{set: func(t time.Time) error { got = t; return nil }}
	for _, step := range []struct {
		ask, bound, want time.Time
	}{
		{ask: at(5), want: at(5)}, {bound: at(3), want: at(3)}, {ask: at(9), want: at(3)}, {ask: at(1), want: at(1)},
		{bound: at(2), want: at(1)}, {ask: at(9), want: at(2)},
	} {
		if !step.ask.IsZero() {
			require.NoError(t, d.ask(step.ask))
		} else {
			d.bound(step.bound)
		}
		require.Equal(t, step.want, got)
	}
	require.NoError(t, d.ask(time.Time{}))
	require.Equal(t, at(2), got)
	d.bound(time.Time{})
	require.Zero(t, got)
}

// TestPacedBody sends bytes one by one to a body on HTTP/2.
func TestPacedBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			var err error
			for err == nil {
				_, err = writer.Write([]byte("x"))
				<-time.After(100 * time.Millisecond)
			}
		}()
		began := time.Now()
		body := pacedBody{reader, newPace(10 * time.Second)}
		n, err := io.Copy(io.Discard, &body)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.InDelta(t, 100, n, 2)
		require.InDelta(t, 10, time.Since(began).Seconds(), 0.2)
		require.NoError(t, body.Close())
		<-done
	})
}

// TestDrippedBodyIsCut: each byte comes soon after the last, and so would the end, in some hours.
func TestDrippedBodyIsCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ head, drop string }{
		"short":            {"POST /api/v1/echo/post HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "x"},
		"sized":            {"POST /api/v1/echo/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", "x"},
		"chunked":          {"POST /api/v1/echo/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
		"a chunk's size":   {"POST /api/v1/echo/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "0"},
		"of no route":      {"POST /api/v1/echo/nosuch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "x"},
		"of a module away": {"POST /api/v1/billing/post HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := withEcho(t, nil, hurried)
			conn := f.dial()
			_, err := io.WriteString(conn, c.head)
			require.NoError(t, err)
			began := time.Now()
			stop := drip(conn, c.drop)
			defer stop()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			if want := "of "; !strings.HasPrefix(name, want) {
				require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_, err = conn.Read(make([]byte, 1))
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection was not cut")
			require.Error(t, err)
			require.Less(t, time.Since(began), 5*time.Second, "the time is one second")
		})
	}
}

// TestDrippedBodyIsCutOnHTTP2, where it has no connection of its own.
func TestDrippedBodyIsCutOnHTTP2(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.TLS = newPair(t, "one").files }, hurried)
	reader, writer := net.Pipe()
	stop := drip(writer, "x")
	defer stop()
	defer writer.Close()
	began := time.Now()
	f.do(http.MethodPost, "/api/v1/echo/upload", reader).requireProblem(t, http.StatusRequestTimeout, "request_timeout")
	require.Less(t, time.Since(began), 8*time.Second, "the time is one second")
}

// drip sends the text again and again, ten times a second, until the connection breaks.
func drip(conn net.Conn, text string) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-quit:
				tick.Stop()
				return
			case <-tick.C:
				_, _ = io.WriteString(conn, text) // the reader will see why it fails
			}
		}
	}()
	return func() { close(quit); <-done }
}

// TestSteadyBodyLives: slow, for longer than any single deadline, but not too slow.
func TestSteadyBodyLives(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil, hurried)
	conn := f.dial()
	_, err := io.WriteString(conn, "POST /api/v1/echo/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n")
	require.NoError(t, err)
	stop := drip(conn, strings.Repeat("x", 500)) // 4 s for all
	defer stop()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
}

// TestUpgradedClientMustRead: what the module says is not kept for ever.
func TestUpgradedClientMustRead(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil, hurried)
	conn := f.dial()
	require.NoError(t, conn.SetReadBuffer(4<<10))
	f.upgrade(conn)
	var err error
	for piece := make([]byte, 64<<10); err == nil; { // until nobody takes more, and then until it is cut
		_, err = conn.Write(piece)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Eventually(t, func() bool { return f.gateway.handlers.n.Load() == 0 }, soon, time.Millisecond)
	f.awaitConns(0)
}

// TestUpgradedClientMayBeQuiet, and so may the module.
func TestUpgradedClientMayBeQuiet(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil, hurried)
	conn := f.dial()
	f.upgrade(conn)
	<-time.After(2500 * time.Millisecond)
	_, err := io.WriteString(conn, "still there?")
	require.NoError(t, err)
	echo := make([]byte, len("still there?"))
	_, err = io.ReadFull(conn, echo)
	require.NoError(t, err)
	require.Equal(t, "still there?", string(echo))
}

// TestHeadLimits: however the bytes of a head are spent.
func TestHeadLimits(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	var small strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&small, "X-%d: abcdefghijk\r\n", i)
	}
	require.Greater(t, small.Len(), 32<<10)
	long := strings.Repeat("a", 33<<10)
	for name, head := range map[string]string{
		"one header":       "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + long + "\r\n\r\n",
		"a header's name":  "GET /livez HTTP/1.1\r\nHost: x\r\n" + long + ": a\r\n\r\n",
		"many headers":     "GET /livez HTTP/1.1\r\nHost: x\r\n" + small.String() + "\r\n",
		"request line":     "GET /api/v1/echo/public/" + long + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"query":            "GET /livez?" + long + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"method":           long + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		"Host":             "GET /livez HTTP/1.1\r\nHost: " + long + "\r\n\r\n",
		"line without end": "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + long,
	} {
		t.Run(name, func(t *testing.T) {
			answer := f.rawLong(head)
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer.status)
			require.True(t, answer.closed)
		})
	}
}

// TestTooLargeBodyIsNeverWhole: a module that is in the middle of a body when it turns out to be too large must not take
// what it got for all of it.
func TestTooLargeBodyIsNeverWhole(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10 // of the route witness
	f, _ := withEcho(t, nil)
	for name, c := range map[string]struct {
		framing string
		body    string
		sees    string // by the module
	}{
		"fits":              {"Content-Length: " + strconv.Itoa(limit), strings.Repeat("x", limit), "whole"},
		"fits, chunked":     {"Transfer-Encoding: chunked", chunk(limit) + "0\r\n\r\n", "whole"},
		"announced":         {"Content-Length: " + strconv.Itoa(limit+1), "", ""},
		"one byte over":     {"Transfer-Encoding: chunked", chunk(limit+1) + "0\r\n\r\n", "part"},
		"endless":           {"Transfer-Encoding: chunked", chunk(limit) + chunk(limit), "part"},
		"goes on, and ends": {"Transfer-Encoding: chunked", chunk(limit-1) + chunk(2) + "0\r\n\r\n", "part"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "saw")
			began := time.Now()
			answer := f.rawLong("POST /api/v1/echo/witness?file=" + file + " HTTP/1.1\r\nHost: x\r\n" + c.framing + "\r\n\r\n" + c.body)
			saw := func() string { text, _ := os.ReadFile(file); return string(text) }
			if c.sees == "whole" {
				require.Equal(t, http.StatusOK, answer.status)
				require.Equal(t, "whole", saw())
				return
			}
			answer.requireProblem(t, http.StatusRequestEntityTooLarge, "too_large")
			require.Less(t, time.Since(began), 8*time.Second, "nobody waits for a body that is refused")
			require.True(t, answer.closed)
			require.Eventually(t, func() bool { return saw() == c.sees }, soon, time.Millisecond)
		})
	}
}

func chunk(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("x", n)) }
