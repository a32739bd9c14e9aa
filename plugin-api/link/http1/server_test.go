package http1

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// knock sends a request with the given header lines straight to a module's socket.
func knock(t *testing.T, path, lines string) *http.Response {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", lines)
	require.NoError(t, err)
	reader := bufio.NewReader(c)
	res, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	res.Body = io.NopCloser(bytes.NewReader(body))
	if res.Close {
		_, err = reader.ReadByte()
		require.ErrorIs(t, err, io.EOF, "the connection is closed")
	}
	return res
}

func callLines(t *testing.T) string {
	t.Helper()
	var encoder callEncoder
	lines, err := encoder.append(nil, &link.Call{Route: "r", Principal: link.Anonymous()})
	require.NoError(t, err)
	return string(lines)
}

func TestServerLetsOnlyTheCoreIn(t *testing.T) {
	t.Parallel()
	good := headerSecret + ": " + hex.EncodeToString(secret()) + "\r\n"
	for name, test := range map[string]struct {
		secret []byte
		lines  string
		status int
	}{
		"the core":              {secret(), good, http.StatusOK},
		"no secret":             {secret(), "", http.StatusForbidden},
		"empty secret":          {secret(), headerSecret + ":\r\n", http.StatusForbidden},
		"wrong secret":          {secret(), headerSecret + ": " + strings.Repeat("0", 64) + "\r\n", http.StatusForbidden},
		"half of it":            {secret(), good[:len(good)-20] + "\r\n", http.StatusForbidden},
		"more of it":            {secret(), good[:len(good)-2] + "0\r\n", http.StatusForbidden},
		"twice":                 {secret(), good + good, http.StatusForbidden},
		"not encoded":           {secret(), headerSecret + ": " + string(secret()) + "\r\n", http.StatusForbidden},
		"nothing is configured": {nil, headerSecret + ":\r\n", http.StatusForbidden},
		"underscores":           {secret(), strings.ReplaceAll(good, "-", "_"), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := socketPath(t)
			called := false
			server := Serve(listen(t, path), ServerConfig{Secret: test.secret, Handler: http.HandlerFunc(
				func(http.ResponseWriter, *http.Request) { called = true })})
			defer server.Close()
			res := knock(t, path, test.lines+callLines(t))
			require.Equal(t, test.status, res.StatusCode)
			require.Equal(t, test.status == http.StatusOK, called)
			if !called {
				require.True(t, res.Close)
				var p problem.Problem
				require.NoError(t, json.NewDecoder(res.Body).Decode(&p))
				require.Equal(t, "permission_denied", p.Code)
			}
		})
	}
}

func TestServerRefusesACallItCannotRead(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	server := Serve(listen(t, path), ServerConfig{Secret: secret(), Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { t.Error("called") })})
	defer server.Close()
	res := knock(t, path, headerSecret+": "+hex.EncodeToString(secret())+"\r\n")
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.True(t, res.Close)
	var p problem.Problem
	require.NoError(t, json.NewDecoder(res.Body).Decode(&p))
	require.Contains(t, p.Detail, headerRoute)
}

func TestHandlerIsNotCalledForHalfASmallBody(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	server := Serve(listen(t, path), ServerConfig{Secret: secret(), Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { t.Error("called") })})
	defer server.Close()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n%s: %s\r\n%s\r\nhel",
		headerSecret, hex.EncodeToString(secret()), callLines(t))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Empty(t, answer)
}

func TestHandlerSeesNothingOfTheCoresHeaders(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Header, r.Trailer) })
	rig.call = func(*http.Request) *link.Call {
		return &link.Call{Route: "r", Path: "/", Params: []link.Param{{Name: "a"}}, Principal: link.Anonymous(), Timeout: time.Hour}
	}
	_, body := rig.do(http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("X-Mine", "1") })
	require.Contains(t, body, "X-Mine")
	require.NotContains(t, strings.ToLower(body), "platformd")
}

func TestHandlerGetsLargeHeads(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, len(r.Header.Get("X-Large"))) })
	_, body := rig.do(http.MethodGet, "/", nil, func(r *http.Request) { r.Header.Set("X-Large", strings.Repeat("x", 100<<10)) })
	require.Equal(t, fmt.Sprint(100<<10), body)
}

func TestServerLogsPanics(t *testing.T) {
	t.Parallel()
	var text lockedBuffer
	log := hclog.New(&hclog.LoggerOptions{Output: &text})
	rig := newRig(t)
	server := Serve(rig.ln, ServerConfig{Secret: secret(), Log: log, Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { panic("at the disco") })})
	rig.front.Start()
	res, _ := rig.do(http.MethodGet, "/", nil)
	require.Equal(t, http.StatusBadGateway, res.StatusCode, "this request only")
	require.NoError(t, server.Close())
	require.Contains(t, text.String(), "[ERROR] ")
	require.Contains(t, text.String(), "at the disco")
}

func TestServerSaysWhenItsListenerFails(t *testing.T) {
	t.Parallel()
	var text lockedBuffer
	ln := listen(t, socketPath(t))
	server := Serve(ln, ServerConfig{Log: hclog.New(&hclog.LoggerOptions{Output: &text}), Handler: http.NotFoundHandler()})
	require.NoError(t, ln.Close())
	<-server.served
	require.Contains(t, text.String(), "restart the module")
	require.NoError(t, server.Close())
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// waiting returns a rig whose module has one request under way, which ends when release is closed.
func waiting(t *testing.T, release <-chan struct{}) (*rig, *Server, <-chan string) {
	t.Helper()
	started := make(chan struct{})
	rig := newRig(t)
	server := Serve(rig.ln, ServerConfig{Secret: secret(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(started)
		select {
		case <-release:
			_, _ = io.WriteString(w, "finished")
		case <-r.Context().Done():
		}
	})})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	rig.front.Start()
	answer := make(chan string, 1)
	go func() {
		_, body := rig.do(http.MethodGet, "/", nil)
		answer <- body
	}()
	<-started
	return rig, server, answer
}

func TestShutdownWaitsForRequests(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	rig, server, answer := waiting(t, release)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(t.Context()) }()
	require.Eventually(t, func() bool {
		_, err := net.Dial("unix", rig.socket)
		return err != nil
	}, patience, time.Millisecond, "nothing new is accepted")
	require.Empty(t, stopped)
	close(release)
	require.Equal(t, "finished", <-answer)
	require.NoError(t, <-stopped)
}

func TestShutdownWaitsNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	_, server, answer := waiting(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded)
	require.Empty(t, answer)
	require.NoError(t, server.Close())
	require.Empty(t, <-answer)
}

func TestShutdownEndsUpgradedConnections(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	rig := newRig(t, upgradable)
	server := Serve(rig.ln, ServerConfig{Secret: secret(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer close(ended)
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		<-r.Context().Done()
	})})
	rig.front.Start()
	c := rig.dial()
	_, err := io.WriteString(c, switchRequest)
	require.NoError(t, err)
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, server.Shutdown(t.Context()))
	<-ended
	_ = c.Close()
	require.NoError(t, rig.result())
}
