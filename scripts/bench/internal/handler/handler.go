// Package handler is what every contestant of the benchmark answers: the same handlers, behind whatever carries requests to
// them.
//
// It must not know any contestant, gin or go-plugin: it is linked into all of them.
package handler

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// Prefix is the path below which the routes are: the one that platformd gives to a module called bench.
const Prefix = "/api/v1/bench"

// Sizes of what travels, in bytes, and the length of a stream.
const (
	GetSize    = 200
	PostSize   = 1 << 10
	MiB        = 1 << 20
	UploadSize = 10 << 20
	Events     = 1000
)

// Route is one HTTP entry.
type Route struct {
	ID     string // as in module.yaml
	Method string
	Path   string // below Prefix
	// Serve answers a request. After an error the answer is incomplete: the connection must be cut.
	Serve func(w http.ResponseWriter, r *http.Request) error
}

// Routes lists everything that a contestant may be asked.
func Routes() []Route {
	return []Route{
		{ID: "get", Method: http.MethodGet, Path: "/get", Serve: constant(Get())},
		{ID: "guarded", Method: http.MethodGet, Path: "/guarded", Serve: constant(Get())},
		{ID: "post", Method: http.MethodPost, Path: "/post", Serve: count},
		{ID: "mib", Method: http.MethodGet, Path: "/mib", Serve: constant(bytes.Repeat([]byte("m"), MiB))},
		{ID: "up", Method: http.MethodPut, Path: "/up", Serve: count},
		{ID: "sse", Method: http.MethodGet, Path: "/sse", Serve: stream},
		{ID: "ws", Method: http.MethodGet, Path: "/ws", Serve: echo},
	}
}

// Mux serves all routes with net/http's router, for plugins that do not link gin.
func Mux() http.Handler {
	mux := http.NewServeMux()
	for _, r := range Routes() {
		mux.Handle(r.Method+" "+Prefix+r.Path, Cutting(r.Serve))
	}
	return mux
}

// Cutting turns a handler's error into the end of its connection, so that no client takes a part for the whole.
func Cutting(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// Get is the answer to GET /get.
func Get() []byte { return bytes.Repeat([]byte("g"), GetSize) }

func constant(body []byte) func(http.ResponseWriter, *http.Request) error {
	length := strconv.Itoa(len(body))
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", length)
		_, err := w.Write(body)
		return err
	}
}

// buffers are large enough that reading an upload costs few calls.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// count reads the body and answers with its length.
func count(w http.ResponseWriter, r *http.Request) error {
	buffer, _ := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buffer)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, buffer[:]) // io.Discard alone would bring its own buffer
	if err != nil {
		return err
	}
	return constant([]byte(strconv.FormatInt(n, 10)))(w, r)
}

// stream sends Events server-sent events, each flushed.
func stream(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for i := range Events {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("flush event %d: %w", i, err)
		}
	}
	return nil
}
