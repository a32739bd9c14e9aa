package http1

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	// maxServerHead is generous: the core has already refused large heads, and adds its own headers.
	maxServerHead = 128 << 10
	// headPatience bounds how long a connection may take to send a head; the core sends it in one write.
	headPatience = 10 * time.Second
)

// ServerConfig configures Serve. Secret and Handler are required.
type ServerConfig struct {
	// Secret is what the core must prove to know. An empty one lets nobody in.
	Secret []byte
	// Handler gets the requests of the core. link.FromContext finds the call in their context, and PathValue its
	// parameters; the core's own headers are gone. It should not look at the path: the call's route is the decision. The
	// context ends when the client goes away; a handler that leaves a body of more than 64 KiB unread hears of that, as
	// anywhere with net/http, only when it reads on.
	Handler http.Handler
	// Log receives what goes wrong on connections, and panics of Handler. nil discards them.
	Log hclog.Logger
}

// Server is the module's half. Its methods are safe for concurrent use.
type Server struct {
	http    http.Server
	secret  []byte
	handler http.Handler
	// cancel ends the contexts of all requests.
	cancel context.CancelFunc
	// served is closed when nothing accepts connections any more.
	served chan struct{}
}

// Serve accepts connections on ln, which it owns, until Shutdown or Close.
func Serve(ln net.Listener, config ServerConfig) *Server {
	if config.Log == nil {
		config.Log = hclog.NewNullLogger()
	}
	base, cancel := context.WithCancel(context.Background())
	s := &Server{
		secret:  []byte(hex.EncodeToString(config.Secret)),
		handler: config.Handler,
		cancel:  cancel,
		served:  make(chan struct{}),
	}
	s.http = http.Server{ // no IdleTimeout: the core keeps idle connections as long as it likes
		Handler:           http.HandlerFunc(s.serve),
		MaxHeaderBytes:    maxServerHead,
		ReadHeaderTimeout: headPatience,
		ErrorLog:          config.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Error}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       withServerConn,
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(serverListener{ln}); !errors.Is(err, http.ErrServerClosed) {
			config.Log.Error("the data socket accepts no more connections; restart the module", "error", err)
		}
	}()
	return s
}

// Shutdown stops accepting requests and waits for those under way, at most until ctx ends; then it returns ctx's error, and
// Close ends the rest. Upgraded connections are not waited for: their contexts are cancelled when it returns nil.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return err
	}
	s.cancel()
	<-s.served
	return nil
}

// Close ends all requests at once: their connections are closed and their contexts cancelled. It does not wait for handlers
// that ignore that.
func (s *Server) Close() error {
	s.cancel()
	err := s.http.Close()
	<-s.served
	return err
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !secretMatches(r.Header, s.secret) {
		refuse(w, problem.New(http.StatusForbidden, "permission_denied",
			"this socket serves the platform's core only; call the module through the gateway"))
		return
	}
	call, err := decodeCall(r.Header)
	if err != nil {
		refuse(w, problem.New(http.StatusBadRequest, "invalid_argument",
			"the core's headers cannot be read ("+err.Error()+"); run a core and a module of matching versions"))
		return
	}
	noteOffer(r.Context(), len(r.Header[headerHandover]) > 0)
	call.Path = r.URL.Path
	ctx, cancel := callContext(r.Context(), call)
	defer cancel()
	r = forHandler(r.WithContext(ctx), call)
	if hop.FramingOf(r).Streamed() {
		s.serveUpload(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// serveUpload lets the handler answer before it has read the body, or while it does: net/http would else read what is left
// first, and a client that waits for the answer would wait for ever.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request) {
	body := &endNoting{ReadCloser: r.Body}
	r.Body = body
	_ = http.NewResponseController(w).EnableFullDuplex()
	s.handler.ServeHTTP(w, r)
	if !body.ended.Load() {
		hop.RefuseRest(w) // a connection in the middle of a body carries no other request
	}
}

// endNoting notes whether a body was read to its end.
type endNoting struct {
	io.ReadCloser
	ended atomic.Bool // a handler may read in a goroutine of its own
}

func (b *endNoting) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if hop.AtEnd(err) {
		b.ended.Store(true)
	}
	return n, err
}

// WriteTo lets io.Copy read large pieces: its own buffers, and those of some writers, are small.
func (b *endNoting) WriteTo(w io.Writer) (int64, error) {
	buf := hop.GetBuffer()
	defer hop.PutBuffer(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{b}, buf[:])
}

// refuse answers a peer that is not the core, or not one that this module understands, and hangs up.
func refuse(w http.ResponseWriter, p *problem.Problem) {
	w.Header().Set("Connection", "close")
	p.Write(w)
}

func callContext(ctx context.Context, call *link.Call) (context.Context, context.CancelFunc) {
	ctx = link.With(ctx, call)
	if call.Timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, call.Timeout)
}

// forHandler makes r, a copy of the server's request, what a handler expects.
func forHandler(r *http.Request, call *link.Call) *http.Request {
	stripReserved(r.Header)
	for _, param := range call.Params {
		r.SetPathValue(param.Name, param.Value)
	}
	if hop.FramingOf(r) == hop.Inline && !hop.ExpectsContinue(r) {
		r.Body = eager(r.Body, int(r.ContentLength))
	}
	return r
}

// eager reads a small body whole: only when a body has been read does net/http watch for the core hanging up, and so
// cancel the handler's context when the client goes away.
func eager(body io.Reader, length int) io.ReadCloser {
	buf := bytes.NewBuffer(make([]byte, 0, length+bytes.MinRead))
	if _, err := buf.ReadFrom(body); err != nil {
		panic(http.ErrAbortHandler) // the core hung up
	}
	return io.NopCloser(buf)
}
