package conformance

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

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

// bothWays runs a test with a tunnel through the core, and with the client's own socket in the module.
func bothWays(test func(t *testing.T, on transport, way option)) func(*testing.T, transport) {
	return func(t *testing.T, on transport) {
		for name, way := range map[string]option{"tunnelled": upgradable, "handed over": lent} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, on, way)
			})
		}
	}
}

func TestUpgradeCarriesWebSockets(t *testing.T) { each(t, bothWays(upgradeCarriesWebSockets)) }

func upgradeCarriesWebSockets(t *testing.T, on transport, way option) {
	for _, raw := range []bool{false, true} {
		rig := on.module(t, echoSocket, way, func(r *linktest.Rig, _ *http1.ClientConfig) { r.Raw = raw })
		rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
			w.Header().Set("X-Request-Id", "core")
			return w, r, func() {}
		}
		c, res, err := websocket.Dial(t.Context(), rig.Front.URL, nil)
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
		require.NoError(t, rig.Result())
	}
}

func TestUpgradeEndsWithTheContext(t *testing.T) { each(t, bothWays(upgradeEndsWithTheContext)) }

func upgradeEndsWithTheContext(t *testing.T, on transport, way option) {
	rig := on.module(t, echoSocket, way)
	drain := make(chan context.CancelFunc, 1)
	rig.Wrap = linktest.WithCancel(drain)
	c, _, err := websocket.Dial(t.Context(), rig.Front.URL, nil)
	require.NoError(t, err)
	(<-drain)()
	_, _, err = c.Read(t.Context())
	require.Error(t, err)
	require.NoError(t, rig.Result())
}

func TestUpgradeThatTheModuleDeclines(t *testing.T) { each(t, bothWays(upgradeThatTheModuleDeclines)) }

func upgradeThatTheModuleDeclines(t *testing.T, on transport, way option) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUpgradeRequired)
		_, _ = io.WriteString(w, r.Header.Get("Upgrade")+" "+r.Header.Get("Connection")+r.Header.Get("Platformd-Handover"))
	}, way)
	res, body := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "test")
	})
	require.Equal(t, http.StatusUpgradeRequired, res.StatusCode)
	require.Equal(t, "test Upgrade", body)
}

func TestUpgradeRefusesWhatIsNone(t *testing.T) { each(t, upgradeRefusesWhatIsNone) }

func upgradeRefusesWhatIsNone(t *testing.T, on transport) {
	rig := on.module(t, func(http.ResponseWriter, *http.Request) {}, upgradable)
	for _, header := range []http.Header{
		{},
		{"Upgrade": {"test"}},
		{"Upgrade": {"test", "test"}, "Connection": {"upgrade"}},
		{"Connection": {"upgrade"}},
	} {
		res, _ := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) { r.Header = header })
		require.Equal(t, http.StatusBadGateway, res.StatusCode, header)
	}
	res, _ := rig.Do(http.MethodPost, "/", strings.NewReader("x"), func(r *http.Request) {
		r.Header = http.Header{"Upgrade": {"test"}, "Connection": {"upgrade"}}
	})
	require.Equal(t, http.StatusBadRequest, res.StatusCode, "with a body")
	require.Zero(t, rig.Listener.Accepted.Load())
}

func TestExchangeDropsUpgrades(t *testing.T) { each(t, exchangeDropsUpgrades) }

func exchangeDropsUpgrades(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Upgrade")+r.Header.Get("Connection"))
	})
	_, body := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	})
	require.Empty(t, body)
}

func upgradable(r *linktest.Rig, _ *http1.ClientConfig) { r.Stream = true }

// lent is upgradable, by handing the client's socket over.
func lent(r *linktest.Rig, _ *http1.ClientConfig) { r.Stream = true; r.Lend() }

const switchRequest = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: test\r\n\r\n"
