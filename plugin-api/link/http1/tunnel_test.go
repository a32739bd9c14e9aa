package http1

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func upgradable(r *rig, _ *ClientConfig) { r.Stream = true }

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
		c := rig.Dial()
		_, err := io.WriteString(c, switchRequest+"sent with the head, ")
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		res, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		require.Equal(t, http.Header{"Connection": {"Upgrade"}, "Upgrade": {"test"}, "X-Own": {"1"}}, res.Header)
		_, err = io.WriteString(c, "sent later")
		require.NoError(t, err)
		require.NoError(t, linktest.HalfClose(c))
		all, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Equal(t, "earlySENT WITH THE HEAD, SENT LATER", string(all))
		require.NoError(t, rig.Result())
	})
	t.Run("the module ends first", func(t *testing.T) {
		t.Parallel()
		got := make(chan string, 1)
		rig := switcher(t, func(c *peer) {
			_ = c.CloseWrite()
			all, _ := io.ReadAll(c)
			got <- string(all)
		})
		c := rig.Dial()
		_, err := io.WriteString(c, switchRequest)
		require.NoError(t, err)
		all, err := io.ReadAll(c)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(all), "\r\n\r\nearly"))
		_, err = io.WriteString(c, "still heard")
		require.NoError(t, err)
		require.NoError(t, linktest.HalfClose(c))
		require.Equal(t, "still heard", <-got)
		require.NoError(t, rig.Result())
	})
}

func TestUpgradeEndsWithEitherSide(t *testing.T) {
	t.Parallel()
	t.Run("the client resets", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{})
		rig := switcher(t, func(c *peer) {
			defer close(ended)
			_, _ = io.Copy(c, linktest.Zeros{})
		})
		c := rig.Dial()
		_, err := io.WriteString(c, switchRequest)
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1000))
		require.NoError(t, err)
		tcp, ok := c.(*net.TCPConn)
		require.True(t, ok)
		require.NoError(t, tcp.SetLinger(0))
		require.NoError(t, c.Close())
		<-ended
		require.NoError(t, rig.Result())
	})
	t.Run("the module dies", func(t *testing.T) {
		t.Parallel()
		rig := switcher(t, func(c *peer) { _ = c.Close() })
		c := rig.Dial()
		_, err := io.WriteString(c, switchRequest)
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		require.NoError(t, err)
		_, err = io.WriteString(c, "x") // what the module cannot hear any more ends the tunnel
		require.NoError(t, err)
		require.NoError(t, rig.Result())
	})
}

func TestUpgradeToAnotherProtocolIsRefused(t *testing.T) {
	t.Parallel()
	rig := switcher(t, func(*peer) {})
	res, _ := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "other")
	})
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.ErrorContains(t, rig.Result(), `switches to protocol "test", the client asked for "other"`)
}

func TestUpgradeOfAConnectionThatCannotBeTakenOver(t *testing.T) {
	t.Parallel()
	rig := switcher(t, func(c *peer) { _, _ = io.Copy(io.Discard, c) })
	rig.Raw = true
	rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		return struct{ http.ResponseWriter }{w}, r, func() {}
	}
	res, _ := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "test")
	})
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.ErrorIs(t, rig.Result(), http.ErrNotSupported)
}
