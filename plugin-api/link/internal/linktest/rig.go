package linktest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

// Client is the core's half of a transport.
type Client interface {
	Exchange(w http.ResponseWriter, r *http.Request, call *link.Call) error
	Upgrade(w http.ResponseWriter, r *http.Request, call *link.Call) error
	Close()
}

// Wrap changes what the transport is given of a request; done is called when the exchange is over.
type Wrap = func(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, _ *http.Request, done func())

// Rig is a module behind a Client behind a net/http server, as in the gateway.
type Rig struct {
	T        testing.TB
	Socket   string
	Listener *Listener
	Client   Client
	Front    *httptest.Server

	// Set before the first request.
	Call   func(r *http.Request) *link.Call
	Wrap   Wrap
	Raw    bool // hand the server's own ResponseWriter to Exchange
	Stream bool // every route may be upgraded
	Grade  func(w http.ResponseWriter, err error)

	mu      sync.Mutex
	results []error
	aborts  []error
}

// NewRig makes a rig without a module. The caller sets Client, whose OnAbort is Aborted, serves Listener and starts Front.
func NewRig(t testing.TB) *Rig {
	t.Helper()
	path := SocketPath(t)
	r := &Rig{T: t, Socket: path, Listener: Listen(t, path), Call: plainCall, Grade: plainGrade}
	r.Front = httptest.NewUnstartedServer(r)
	r.Front.Config.ErrorLog = nil
	t.Cleanup(r.Close)
	return r
}

// Close may be called more than once.
func (r *Rig) Close() {
	r.Front.CloseClientConnections()
	r.Front.Close()
	r.Client.Close()
	_ = r.Listener.Close()
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
	case errors.Is(err, link.ErrRequestBody):
		w.WriteHeader(http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusBadGateway)
	}
}

// ServeHTTP implements http.Handler for Front.
func (r *Rig) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	call := r.Call(req)
	if r.Wrap != nil {
		var done func()
		w, req, done = r.Wrap(w, req)
		defer done()
	}
	if !r.Raw {
		lazy := &lazyWriter{ResponseWriter: w}
		defer lazy.writeHeaderNow()
		w = lazy
	}
	exchange := r.Client.Exchange
	if r.Stream {
		exchange = r.Client.Upgrade
	}
	err := exchange(w, req, call)
	r.record(err)
	if err != nil {
		r.Grade(w, err)
	}
}

func (r *Rig) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.results = append(r.results, err)
}

// Aborted is what the Client calls before it panics.
func (r *Rig) Aborted(_ *http.Request, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.aborts = append(r.aborts, err)
}

// Results returns the errors of the exchanges that have returned.
func (r *Rig) Results() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.results)
}

// Aborts returns the reasons of the exchanges that have panicked.
func (r *Rig) Aborts() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.aborts)
}

// Result waits for the first exchange to return and returns its error.
func (r *Rig) Result() error {
	r.T.Helper()
	return first(r.T, r.Results)
}

// Abort waits for the first exchange to panic and returns its reason.
func (r *Rig) Abort() error {
	r.T.Helper()
	return first(r.T, r.Aborts)
}

func first(t testing.TB, list func() []error) error {
	t.Helper()
	require.Eventually(t, func() bool { return len(list()) > 0 }, Patience, time.Millisecond)
	return list()[0]
}

// Lend makes the front offer its clients' sockets to modules, as the gateway does. It is an option of a rig: the front must not
// have been started.
func (r *Rig) Lend() {
	r.Front.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return link.WithSocket(ctx, func() (*net.TCPConn, error) {
			tcp, ok := c.(*net.TCPConn)
			if !ok {
				return nil, net.ErrClosed
			}
			return tcp, nil
		})
	}
}

// Do sends a request to the front and returns the answer with its whole body.
func (r *Rig) Do(method, path string, body io.Reader, edit ...func(*http.Request)) (*http.Response, string) {
	r.T.Helper()
	res := r.Start(method, path, body, edit...)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(r.T, err)
	return res, string(text)
}

// Start sends a request to the front and returns the answer, whose body the caller closes.
func (r *Rig) Start(method, path string, body io.Reader, edit ...func(*http.Request)) *http.Response {
	r.T.Helper()
	req := r.Request(method, path, body, edit...)
	res, err := r.Front.Client().Do(req)
	require.NoError(r.T, err)
	return res
}

// Request makes a request to the front.
func (r *Rig) Request(method, path string, body io.Reader, edit ...func(*http.Request)) *http.Request {
	r.T.Helper()
	req, err := http.NewRequestWithContext(r.T.Context(), method, r.Front.URL+path, body)
	require.NoError(r.T, err)
	for _, f := range edit {
		f(req)
	}
	return req
}

// Dial connects to the front, for requests that net/http's client does not send.
func (r *Rig) Dial() net.Conn {
	r.T.Helper()
	c, err := net.Dial("tcp", r.Front.Listener.Addr().String()) //nolint:noctx // it listens in this process
	require.NoError(r.T, err)
	r.T.Cleanup(func() { _ = c.Close() })
	require.NoError(r.T, c.SetDeadline(time.Now().Add(Patience)))
	return c
}

// WithTimeout gives every request so much time.
func WithTimeout(d time.Duration) Wrap {
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		return w, r.WithContext(ctx), cancel
	}
}

// WithCancel hands out what cancels a request's context, as a gateway that drains does.
func WithCancel(drain chan<- context.CancelFunc) Wrap {
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		ctx, cancel := context.WithCancel(r.Context())
		drain <- cancel
		return w, r.WithContext(ctx), cancel
	}
}

// WithBodyLimit bounds the body of every request, as the gateway does.
func WithBodyLimit(n int64) Wrap {
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		r = r.Clone(r.Context())
		r.Body = http.MaxBytesReader(nil, r.Body, n)
		return w, r, func() {}
	}
}

// lazyWriter keeps a status back until the first byte, as gin's ResponseWriter does.
type lazyWriter struct {
	http.ResponseWriter
	status int
	sent   bool
}

// Unwrap serves http.ResponseController.
func (w *lazyWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *lazyWriter) WriteHeader(status int) { w.status = status }

func (w *lazyWriter) writeHeaderNow() {
	if !w.sent && w.status != 0 {
		w.sent = true
		w.ResponseWriter.WriteHeader(w.status)
	}
}

// Write implements http.ResponseWriter.
func (w *lazyWriter) Write(p []byte) (int, error) {
	w.writeHeaderNow()
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (w *lazyWriter) Flush() {
	w.writeHeaderNow()
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker.
func (w *lazyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.sent = true
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
