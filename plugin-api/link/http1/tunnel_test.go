package http1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

func upgradable(r *rig, _ *ClientConfig) { r.stream = true }

func echoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(-1)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

func TestUpgradeCarriesWebSockets(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		rig := serveModule(t, echoSocket, upgradable, func(r *rig, _ *ClientConfig) { r.raw = raw })
		rig.wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
			w.Header().Set("X-Request-Id", "core")
			return w, r, func() {}
		}
		c, res, err := websocket.Dial(t.Context(), rig.front.URL, nil)
		require.NoError(t, err)
		require.Equal(t, "core", res.Header.Get("X-Request-Id"))
		c.SetReadLimit(-1)
		for _, size := range []int{0, 1, 125, 70000, 1 << 20} {
			message := bytes.Repeat([]byte("x"), size)
			require.NoError(t, c.Write(t.Context(), websocket.MessageBinary, message))
			_, echo, err := c.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, message, append([]byte{}, echo...))
		}
		require.NoError(t, c.Close(websocket.StatusNormalClosure, "bye"))
		require.NoError(t, rig.result())
		rig.idle(0)
	}
}

func TestUpgradeEndsWithTheContext(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, echoSocket, upgradable)
	drain := make(chan context.CancelFunc, 1)
	rig.wrap = withCancel(drain)
	c, _, err := websocket.Dial(t.Context(), rig.front.URL, nil)
	require.NoError(t, err)
	(<-drain)()
	_, _, err = c.Read(t.Context())
	require.Error(t, err)
	require.NoError(t, rig.result())
}

// switcher is a module that agrees to switch to the protocol "test", with early bytes in the same write as the head.
func switcher(t *testing.T, talk func(c *peer)) *rig {
	t.Helper()
	return scriptModule(t, func(c *peer, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\nX-Own: 1\r\n"+
			"Platformd-Route: x\r\nContent-Length: 3\r\n\r\nearly")
		talk(c)
	}, upgradable)
}

const switchRequest = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: test\r\n\r\n"

func TestUpgradePassesHalfClosesOn(t *testing.T) {
	t.Parallel()
	t.Run("the client ends first", func(t *testing.T) {
		t.Parallel()
		rig := switcher(t, func(c *peer) {
			all, _ := io.ReadAll(c)
			_, _ = c.Write(bytes.ToUpper(all))
		})
		c := rig.dial()
		_, err := io.WriteString(c, switchRequest+"sent with the head, ")
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		res, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		require.Equal(t, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"test"}, "X-Own": {"1"}}, res.Header)
		_, err = io.WriteString(c, "sent later")
		require.NoError(t, err)
		require.NoError(t, halfClose(c))
		all, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Equal(t, "earlySENT WITH THE HEAD, SENT LATER", string(all))
		require.NoError(t, rig.result())
	})
	t.Run("the module ends first", func(t *testing.T) {
		t.Parallel()
		got := make(chan string, 1)
		rig := switcher(t, func(c *peer) {
			_ = c.CloseWrite()
			all, _ := io.ReadAll(c)
			got <- string(all)
		})
		c := rig.dial()
		_, err := io.WriteString(c, switchRequest)
		require.NoError(t, err)
		all, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(all), "\r\n\r\nearly"))
		_, err = io.WriteString(c, "still heard")
		require.NoError(t, err)
		require.NoError(t, halfClose(c))
		require.Equal(t, "still heard", <-got)
		require.NoError(t, rig.result())
	})
}

func TestUpgradeEndsWithEitherSide(t *testing.T) {
	t.Parallel()
	t.Run("the client resets", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{})
		rig := switcher(t, func(c *peer) {
			defer close(ended)
			_, _ = io.Copy(c, zeros{})
		})
		c := rig.dial()
		_, err := io.WriteString(c, switchRequest)
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1000))
		require.NoError(t, err)
		tcp, ok := c.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.SetLinger(0))
		require.NoError(t, c.Close())
		<-ended
		require.NoError(t, rig.result())
	})
	t.Run("the module dies", func(t *testing.T) {
		t.Parallel()
		rig := switcher(t, func(c *peer) { _ = c.Close() })
		c := rig.dial()
		_, err := io.WriteString(c, switchRequest)
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		require.NoError(t, err)
		_, err = io.WriteString(c, "x") // what the module cannot hear any more ends the tunnel
		require.NoError(t, err)
		require.NoError(t, rig.result())
	})
}

func TestUpgradeThatTheModuleDeclines(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUpgradeRequired)
		_, _ = io.WriteString(w, r.Header.Get("Upgrade")+" "+r.Header.Get("Connection"))
	}, upgradable)
	res, body := rig.do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "test")
	})
	require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
	require.Equal(t, "test Upgrade", body)
	rig.idle(1)
}

func TestUpgradeToAnotherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	rig := switcher(t, func(*peer) {})
	res, _ := rig.do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "other")
	})
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.ErrorContains(t, rig.result(), `switches to protocol "test", the client asked for "other"`)
}

func TestUpgradeOfAConnectionThatCannotBeTakenOver(t *testing.T) {
	t.Parallel()
	rig := switcher(t, func(c *peer) { _, _ = io.Copy(io.Discard, c) })
	rig.raw = true
	rig.wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		return struct{ http.ResponseWriter }{w}, r, func() {}
	}
	res, _ := rig.do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "test")
	})
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.ErrorIs(t, rig.result(), http.ErrNotSupported)
}

func TestUpgradeRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(http.ResponseWriter, *http.Request) {}, upgradable)
	for _, header := range []http.Header{
		{},
		{"Upgrade": {"test"}},
		{"Upgrade": {"test", "test"}, "Connection": {"upgrade"}},
		{"Connection": {"upgrade"}},
	} {
		res, _ := rig.do(http.MethodGet, "/", nil, func(r *http.Request) { r.Header = header })
		require.Equal(t, http.StatusBadGateway, res.StatusCode, header)
	}
	res, _ := rig.do(http.MethodPost, "/", strings.NewReader("x"), func(r *http.Request) {
		r.Header = http.Header{"Upgrade": {"test"}, "Connection": {"upgrade"}}
	})
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "with a body")
	require.Zero(t, rig.ln.accepted.Load())
}

func TestExchangeDropsUpgrades(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Upgrade")+r.Header.Get("Connection"))
	})
	_, body := rig.do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	})
	require.Empty(t, body)
}
