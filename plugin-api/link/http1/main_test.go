package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/plugin-api/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

func secret() []byte { return []byte("0123456789abcdef0123456789abcdef") }

// socketPath returns the path of a socket that does not exist yet.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pd") // t.TempDir holds the test's name; a socket's path must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listen(t testing.TB, path string) *countingListener {
	t.Helper()
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return &countingListener{Listener: ln}
}

// countingListener counts the connections that it accepted.
type countingListener struct {
	net.Listener
	accepted atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// rig is a module behind a Client behind a net/http server, as in the gateway.
type rig struct {
	t      testing.TB
	socket string
	ln     *countingListener
	client *Client
	front  *httptest.Server

	// Set before the first request.
	call   func(r *http.Request) *link.Call
	wrap   func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func())
	raw    bool // hand the server's own ResponseWriter to Exchange
	stream bool // every route may be upgraded
	grade  func(w http.ResponseWriter, err error)

	mu      sync.Mutex
	results []error
	aborts  []error
}

// newRig makes a rig without a module: the caller listens on rig.ln.
func newRig(t testing.TB, options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	path := socketPath(t)
	r := &rig{t: t, socket: path, ln: listen(t, path), call: plainCall, grade: plainGrade}
	config := ClientConfig{Socket: path, Secret: secret(), OnAbort: r.aborted}
	for _, option := range options {
		option(r, &config)
	}
	r.client = NewClient(config)
	r.front = httptest.NewUnstartedServer(r)
	r.front.Config.ErrorLog = nil
	t.Cleanup(r.close)
	return r
}

// close may be called more than once.
func (r *rig) close() {
	r.front.CloseClientConnections()
	r.front.Close()
	r.client.Close()
	_ = r.ln.Close()
}

// serveModule makes a rig whose module is a Server.
func serveModule(t testing.TB, handler http.HandlerFunc, options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	r := newRig(t, options...)
	server := Serve(r.ln, ServerConfig{Secret: secret(), Handler: handler})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	r.front.Start()
	return r
}

// scriptModule makes a rig whose module does with each connection what script says; it reads the request first.
func scriptModule(t testing.TB, script func(c *peer, r *http.Request), options ...func(*rig, *ClientConfig)) *rig {
	t.Helper()
	r := newRig(t, options...)
	var scripts sync.WaitGroup
	scripts.Go(func() {
		for {
			c, err := r.ln.Accept()
			if err != nil {
				return
			}
			scripts.Go(func() {
				defer c.Close()
				reader := bufio.NewReader(c)
				if request, err := http.ReadRequest(reader); err == nil {
					script(&peer{Conn: c, reader: reader}, request)
				}
			})
		}
	})
	t.Cleanup(func() { r.close(); scripts.Wait() })
	r.front.Start()
	return r
}

// peer is the module's end of a connection. Its reader may hold what was sent after the request.
type peer struct {
	net.Conn
	reader *bufio.Reader
}

func (p *peer) Read(b []byte) (int, error) { return p.reader.Read(b) }

func (p *peer) CloseWrite() error { return halfClose(p.Conn) }

func halfClose(c net.Conn) error {
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("a %T cannot be closed by half", c)
	}
	return half.CloseWrite()
}

func plainCall(r *http.Request) *link.Call {
	return &link.Call{Route: "test", Path: r.URL.Path, Principal: link.Anonymous()}
}

// plainGrade answers a failed exchange as a gateway would.
func plainGrade(w http.ResponseWriter, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	case errors.Is(err, context.DeadlineExceeded):
		w.WriteHeader(http.StatusGatewayTimeout)
	case errors.Is(err, ErrRequestBody):
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}

func (r *rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	call := r.call(req)
	if r.wrap != nil {
		var done func()
		w, req, done = r.wrap(w, req)
		defer done()
	}
	if !r.raw {
		lazy := &lazyWriter{ResponseWriter: w}
		defer lazy.writeHeaderNow()
		w = lazy
	}
	exchange := r.client.Exchange
	if r.stream {
		exchange = r.client.Upgrade
	}
	err := exchange(w, req, call)
	r.record(err)
	if err != nil {
		r.grade(w, err)
	}
}

func (r *rig) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, err)
}

func (r *rig) aborted(_ *http.Request, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aborts = append(r.aborts, err)
}

// result waits for the first exchange to return and returns its error.
func (r *rig) result() error {
	r.t.Helper()
	var err error
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.results) == 0 {
			return false
		}
		err = r.results[0]
		return true
	}, patience, time.Millisecond)
	return err
}

// abort waits for the first exchange to panic and returns its reason.
func (r *rig) abort() error {
	r.t.Helper()
	var err error
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.aborts) == 0 {
			return false
		}
		err = r.aborts[0]
		return true
	}, patience, time.Millisecond)
	return err
}

// idle waits for the client to hold n idle connections and no exchange to be under way.
func (r *rig) idle(n int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.client.pool.mu.Lock()
		defer r.client.pool.mu.Unlock()
		return len(r.client.pool.idle) == n
	}, patience, time.Millisecond)
}

// do sends a request to the front and returns the answer with its whole body.
func (r *rig) do(method, path string, body io.Reader, edit ...func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	res := r.start(method, path, body, edit...)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(r.t, err)
	return res, string(text)
}

// start sends a request to the front and returns the answer, whose body the caller closes.
func (r *rig) start(method, path string, body io.Reader, edit ...func(*http.Request)) *http.Response {
	r.t.Helper()
	req := r.request(method, path, body, edit...)
	res, err := r.front.Client().Do(req)
	require.NoError(r.t, err)
	return res
}

func (r *rig) request(method, path string, body io.Reader, edit ...func(*http.Request)) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.context(), method, r.front.URL+path, body)
	require.NoError(r.t, err)
	for _, f := range edit {
		f(req)
	}
	return req
}

func (r *rig) context() context.Context {
	return r.t.Context()
}

// dial connects to the front, for requests that net/http's client does not send.
func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.front.Listener.Addr().String())
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	require.NoError(r.t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// lazyWriter keeps a status back until the first byte, as gin's ResponseWriter does.
type lazyWriter struct {
	http.ResponseWriter
	status int
	sent   bool
}

func (w *lazyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *lazyWriter) WriteHeader(status int) { w.status = status }

func (w *lazyWriter) writeHeaderNow() {
	if !w.sent && w.status != 0 {
		w.sent = true
		w.ResponseWriter.WriteHeader(w.status)
	}
}

func (w *lazyWriter) Write(p []byte) (int, error) {
	w.writeHeaderNow()
	return w.ResponseWriter.Write(p)
}

func (w *lazyWriter) Flush() {
	w.writeHeaderNow()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *lazyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.sent = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
