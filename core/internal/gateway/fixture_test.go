package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// fixture is a gateway that serves on a port of its own until the end of the test.
type fixture struct {
	t        *testing.T
	gateway  *Gateway
	registry *instance.Registry
	addr     string
	client   *http.Client
	scheme   string
	log      *syncBuffer

	stop  context.CancelFunc // begins the drain
	ended chan error         // Serve's result
}

func newDeps(log io.Writer) Deps {
	return Deps{
		Log:          hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log}),
		Instances:    instance.NewRegistry(),
		Authenticate: authenticate, Decide: decideBy(nil),
		Ready:   func() Readiness { return Readiness{Ready: true} },
		Metrics: prometheus.NewRegistry(),
		Server:  config.Default().Server,
	}
}

// start serves a gateway. change may be nil; it edits what the gateway is made of. tune edits the gateway itself.
func start(t *testing.T, change func(*Deps), tune ...func(*Gateway)) *fixture {
	t.Helper()
	f := &fixture{t: t, scheme: "http", log: &syncBuffer{}, ended: make(chan error, 1)}
	deps := newDeps(f.log)
	f.registry = deps.Instances
	if change != nil {
		change(&deps)
	}
	gateway, err := New(deps)
	require.NoError(t, err)
	f.gateway = gateway
	for _, tune := range tune {
		tune(gateway)
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.addr = ln.Addr().String()
	if deps.Server.TLS.Cert != "" {
		f.scheme = "https"
	}
	f.client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	go func() { f.ended <- gateway.Serve(ctx, ln); close(f.ended) }()
	t.Cleanup(func() {
		f.client.CloseIdleConnections()
		cancel()
		require.NoError(t, <-f.ended)
		if t.Failed() {
			t.Log(f.log.String())
		}
	})
	return f
}

// withEcho is start with the echo module, running.
func withEcho(t *testing.T, change func(*Deps), tune ...func(*Gateway)) (*fixture, *instance.Instance) {
	t.Helper()
	f := start(t, change, tune...)
	require.Empty(t, f.gateway.SetModules(echoAlone(t), nil))
	inst := instancetest.Launch(t, instancetest.Launcher(t), "echo")
	f.registry.Put("echo", inst)
	return f, inst
}

func echoAlone(t testing.TB) []*catalog.Module {
	t.Helper()
	return []*catalog.Module{parse(t, echoManifest)}
}

func parse(t testing.TB, text string) *catalog.Module {
	t.Helper()
	m, err := manifest.Parse("module.yaml", []byte(text))
	require.NoError(t, err)
	return &catalog.Module{Manifest: m}
}

// Tokens that authenticate knows.
const (
	goodToken   = "pfd_good"   // holds echo.*
	otherToken  = "pfd_other"  // holds billing.*
	brokenToken = "pfd_broken" // cannot be checked
	nobodyToken = "pfd_nobody" // is said to be valid, and whose it is not
	slowToken   = "pfd_slow"   // is checked for ever
)

func authenticate(ctx context.Context, secret string) (auth.Identity, error) {
	principal := link.Principal{Kind: link.KindToken, ID: "tok-1", Name: "ci"}
	switch secret {
	case goodToken:
		return auth.Identity{Principal: principal, Permissions: []string{"echo.*"}}, nil
	case otherToken:
		return auth.Identity{Principal: principal, Permissions: []string{"billing.*"}}, nil
	case brokenToken:
		return auth.Identity{Principal: principal, Permissions: []string{"*"}}, io.ErrUnexpectedEOF
	case nobodyToken:
		return auth.Identity{Permissions: []string{"*"}}, nil
	case slowToken:
		<-ctx.Done()
		return auth.Identity{}, ctx.Err()
	}
	return auth.Identity{}, auth.ErrInvalidToken
}

// answered is a whole response.
type answered struct {
	status int
	header http.Header
	body   string
	closed bool // the server said that it would close the connection
}

// do sends a request; headers are "Name: value".
func (f *fixture) do(method, path string, body io.Reader, headers ...string) answered {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), method, f.scheme+"://"+f.addr+path, body)
	require.NoError(f.t, err)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	response, err := f.client.Do(r)
	require.NoError(f.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	return answered{response.StatusCode, response.Header, string(text), response.Close}
}

func (f *fixture) get(path string, headers ...string) answered {
	f.t.Helper()
	return f.do(http.MethodGet, path, nil, headers...)
}

// newRecorder asks the gateway without a connection.
func newRecorder(f *fixture, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.gateway.Handler().ServeHTTP(w, httptest.NewRequestWithContext(f.t.Context(), http.MethodGet, path, nil))
	return w
}

// see is get for a route that echoes.
func (f *fixture) see(path string, headers ...string) seen {
	f.t.Helper()
	return f.get(path, headers...).seen(f.t)
}

func (a answered) seen(t *testing.T) (s seen) {
	t.Helper()
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.NoError(t, json.Unmarshal([]byte(a.body), &s))
	return s
}

// requireProblem checks that the answer is a whole problem of that status and code, and returns it.
func (a answered) requireProblem(t *testing.T, status int, code string) problem.Problem {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, problem.ContentType, a.header.Get("Content-Type"))
	var p problem.Problem
	require.NoError(t, json.Unmarshal([]byte(a.body), &p), a.body)
	require.Equal(t, code, p.Code)
	require.Equal(t, status, p.Status)
	require.NotEmpty(t, p.Detail)
	require.Equal(t, a.header.Get("X-Request-Id"), p.RequestID)
	require.NotEmpty(t, p.RequestID)
	return p
}

// raw sends bytes as they are, and returns the first answer. The connection stays open for the client's part.
func (f *fixture) raw(bytes string) answered {
	f.t.Helper()
	conn, err := new(net.Dialer).DialContext(f.t.Context(), "tcp", f.addr)
	require.NoError(f.t, err)
	defer conn.Close()
	return f.rawOn(conn, bytes)
}

func (f *fixture) rawOn(conn net.Conn, bytes string) answered {
	f.t.Helper()
	require.NoError(f.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(conn, bytes)
	require.NoError(f.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(f.t, err, "%.300q", bytes)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(f.t, err)
	return answered{response.StatusCode, response.Header, string(body), response.Close}
}

// pipeline sends bytes as they are, and returns all the answers up to the end of the connection.
func (f *fixture) pipeline(bytes string) (answers []answered) {
	f.t.Helper()
	conn, err := new(net.Dialer).DialContext(f.t.Context(), "tcp", f.addr)
	require.NoError(f.t, err)
	defer conn.Close()
	require.NoError(f.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, bytes)
	require.NoError(f.t, err)
	for reader := bufio.NewReader(conn); ; {
		if _, err := reader.Peek(1); err != nil {
			require.ErrorIs(f.t, err, io.EOF)
			return answers
		}
		response, err := http.ReadResponse(reader, nil)
		require.NoError(f.t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(f.t, err)
		require.NoError(f.t, response.Body.Close())
		answers = append(answers, answered{response.StatusCode, response.Header, string(body), response.Close})
	}
}

// hurried is for tests of what happens when a timeout passes, or must not happen.
func hurried(g *Gateway) {
	g.timeouts = timeouts{head: time.Second, client: time.Second, auth: time.Second}
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what has been written.
func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func modules(mods ...*catalog.Module) []*catalog.Module { return mods }

func decode(t *testing.T, text string, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), into), text)
}
