package http1

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// knock sends a request with the given header lines straight to a module's socket.
func knock(t *testing.T, path, lines string) *http.Response {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(linktest.Patience)))
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
	good := headerSecret + ": " + hex.EncodeToString(linktest.Secret()) + "\r\n"
	for name, test := range map[string]struct {
		secret []byte
		lines  string
		status int
	}{
		"the core":              {linktest.Secret(), good, http.StatusOK},
		"no secret":             {linktest.Secret(), "", http.StatusForbidden},
		"empty secret":          {linktest.Secret(), headerSecret + ":\r\n", http.StatusForbidden},
		"wrong secret":          {linktest.Secret(), headerSecret + ": " + strings.Repeat("0", 64) + "\r\n", http.StatusForbidden},
		"half of it":            {linktest.Secret(), good[:len(good)-20] + "\r\n", http.StatusForbidden},
		"more of it":            {linktest.Secret(), good[:len(good)-2] + "0\r\n", http.StatusForbidden},
		"twice":                 {linktest.Secret(), good + good, http.StatusForbidden},
		"not encoded":           {linktest.Secret(), headerSecret + ": " + string(linktest.Secret()) + "\r\n", http.StatusForbidden},
		"nothing is configured": {nil, headerSecret + ":\r\n", http.StatusForbidden},
		"underscores":           {linktest.Secret(), strings.ReplaceAll(good, "-", "_"), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := linktest.SocketPath(t)
			called := false
			server := Serve(linktest.Listen(t, path), ServerConfig{Secret: test.secret, Handler: http.HandlerFunc(
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
	path := linktest.SocketPath(t)
	server := Serve(linktest.Listen(t, path), ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { t.Error("called") })})
	defer server.Close()
	res := knock(t, path, headerSecret+": "+hex.EncodeToString(linktest.Secret())+"\r\n")
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.True(t, res.Close)
	var p problem.Problem
	require.NoError(t, json.NewDecoder(res.Body).Decode(&p))
	require.Contains(t, p.Detail, headerRoute)
}

func TestHandlerIsNotCalledForHalfASmallBody(t *testing.T) {
	t.Parallel()
	path := linktest.SocketPath(t)
	server := Serve(linktest.Listen(t, path), ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(
		func(http.ResponseWriter, *http.Request) { t.Error("called") })})
	defer server.Close()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n%s: %s\r\n%s\r\nhel",
		headerSecret, hex.EncodeToString(linktest.Secret()), callLines(t))
	require.NoError(t, err)
	require.NoError(t, c.CloseWrite())
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Empty(t, answer)
}

func TestServerSaysWhenItsListenerFails(t *testing.T) {
	t.Parallel()
	var text linktest.Buffer
	ln := linktest.Listen(t, linktest.SocketPath(t))
	server := Serve(ln, ServerConfig{Log: hclog.New(&hclog.LoggerOptions{Output: &text}), Handler: http.NotFoundHandler()})
	require.NoError(t, ln.Close())
	<-server.served
	require.Contains(t, text.String(), "restart the module")
	require.NoError(t, server.Close())
}
