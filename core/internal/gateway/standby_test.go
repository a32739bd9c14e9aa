package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
)

// While a platform stands by, probes learn why; then whoever takes the listener over gets the next connection.
func TestStandBy(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = ln.Close() }) // it may be closed
		server, client, scheme := config.Server{}, &http.Client{Timeout: 10 * time.Second}, "http://"
		if secure {
			server.TLS, scheme = newPair(t, "standby").files, "https://"
			client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		}
		t.Cleanup(client.CloseIdleConnections)
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- StandBy(ctx, ln, server, func() Readiness { return Readiness{Reason: "waiting", Detail: "for somebody"} })
		}()
		get := func(path string) (int, string) {
			res, err := client.Get(scheme + ln.Addr().String() + path)
			require.NoError(t, err)
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			return res.StatusCode, string(body)
		}
		for path, want := range map[string]struct {
			status int
			body   string
		}{
			"/livez":                 {200, "ok\n"},
			"/readyz":                {503, "not ready: waiting\n"},
			"/readyz?verbose":        {503, "not ready: waiting: for somebody\n"},
			"/api/v1/blog/x":         {503, "the platform is starting; /readyz says what it waits for\n"},
			"/api/v1/platform/users": {503, "the platform is starting; /readyz says what it waits for\n"},
			"/.well-known/jwks.json": {503, "the platform is starting; /readyz says what it waits for\n"},
		} {
			status, body := get(path)
			require.Equal(t, want.status, status, path)
			require.Equal(t, want.body, body, path)
		}
		idle, err := net.Dial("tcp", ln.Addr().String()) // who says nothing holds up nobody
		require.NoError(t, err)
		defer idle.Close()
		end()
		require.NoError(t, <-ended)

		accepted := make(chan error, 1)
		go func() {
			conn, err := ln.Accept()
			if err == nil {
				err = conn.Close()
			}
			accepted <- err
		}()
		next, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		require.NoError(t, <-accepted, "the listener is as it was")
		require.NoError(t, next.Close())
	}
}
