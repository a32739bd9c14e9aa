package gateway

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

func readFirst(t *testing.T, response *http.Response) {
	t.Helper()
	first := make([]byte, len("data: first\n\n"))
	_, err := io.ReadFull(response.Body, first)
	require.NoError(t, err)
	require.Equal(t, "data: first\n\n", string(first))
}

// TestSSE: an event is there before the next one is sent, over both HTTP versions.
func TestSSE(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"http1": nil, "http2": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := withEcho(t, change)
			response := f.open("/api/v1/echo/feed")
			require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
			readFirst(t, response)
			require.NoError(t, response.Body.Close())
		})
	}
}

// TestQuietStreamLives: a stream on which nothing happens outlives the deadlines that are made for short exchanges.
func TestQuietStreamLives(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"http1": nil, "http2": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := withEcho(t, change, hurried)
			response := f.open("/api/v1/echo/feed")
			readFirst(t, response)
			ended := make(chan error, 1)
			go func() { _, err := response.Body.Read(make([]byte, 1)); ended <- err }()
			select {
			case err := <-ended:
				require.Fail(t, "the stream ended", "%v", err)
			case <-time.After(3 * time.Second):
			}
			require.NoError(t, response.Body.Close())
			require.Error(t, <-ended)
		})
	}
}

// TestSlowAnswerLives: a handler may take longer than a client may.
func TestSlowAnswerLives(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"http1": nil, "http2": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := withEcho(t, change, hurried)
			waiting := f.wait()
			select {
			case answer := <-waiting.done:
				require.Fail(t, "answered too early", "%v", answer)
			case <-time.After(3 * time.Second):
			}
			require.Equal(t, "done\n", waiting.finish().body)
		})
	}
}

// TestUpgradedConnectionsAreNotChecked: what travels on them is no HTTP.
func TestUpgradedConnectionsAreNotChecked(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	_, err = io.WriteString(conn, "GET /api/v1/echo/tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	for _, sent := range []string{"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", "\x00\xff anything"} {
		_, err = io.WriteString(conn, sent)
		require.NoError(t, err)
		echoed := make([]byte, len(sent))
		_, err = io.ReadFull(reader, echoed)
		require.NoError(t, err)
		require.Equal(t, sent, string(echoed))
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"plain": nil, "tls": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := withEcho(t, change)
			transport, ok := f.client.Transport.(*http.Transport)
			require.True(t, ok)
			transport = transport.Clone()
			transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = false, nil
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			conn, response, err := websocket.Dial(ctx, f.scheme+"://"+f.addr+"/api/v1/echo/socket",
				&websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
			require.NoError(t, err)
			defer func() { _ = conn.CloseNow() }()
			require.NotEmpty(t, response.Header.Get("X-Request-Id"))
			for _, message := range []string{"hello", "again"} {
				require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte(message)))
				_, echoed, err := conn.Read(ctx)
				require.NoError(t, err)
				require.Equal(t, "echo "+message, string(echoed))
			}
			require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
		})
	}
}

// TestWebSocketRouteWithoutUpgrade is the module's to answer.
func TestWebSocketRouteWithoutUpgrade(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	require.Equal(t, http.StatusUpgradeRequired, f.get("/api/v1/echo/socket").status)
}

// TestUpgradeOverHTTP2 cannot be asked for: HTTP/2 has no Upgrade.
func TestUpgradeOverHTTP2(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.TLS = newPair(t, "one").files })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+f.addr+"/api/v1/echo/socket", nil)
	require.NoError(t, err)
	r.Header.Set("Upgrade", "websocket")
	response, err := f.client.Do(r)
	if err == nil {
		require.NoError(t, response.Body.Close())
		require.NotEqual(t, http.StatusSwitchingProtocols, response.StatusCode)
	}
}
