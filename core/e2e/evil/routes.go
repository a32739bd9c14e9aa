package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

type evil struct {
	core     *pluginapi.Core
	canceled atomic.Int64
	waiting  atomic.Int64
	greed    greed
	hangUp   func() // of a liar

	livelocked atomic.Bool
}

func (e *evil) routes() map[string]pluginapi.Handler {
	return map[string]pluginapi.Handler{
		"echo":       echo,
		"small":      echo,
		"download":   download,
		"events":     events,
		"socket":     socket,
		"trailers":   trailers,
		"wait":       e.wait,
		"waitPost":   e.wait,
		"canceled":   e.countCanceled,
		"waiting":    e.countWaiting,
		"crash":      crash,
		"panic":      func(http.ResponseWriter, *http.Request) error { panic("as asked") },
		"environ":    environ,
		"request":    showRequest,
		"guarded":    showRequest,
		"dependency": e.dependency,
		"needy":      showRequest,
		"allocate":   e.greed.allocate,
		"fork":       e.greed.fork,
		"open":       e.greed.open,
		"grandchild": e.greed.grandchild,
		"flood":      flood,
		"bulk":       download,
		"livelock":   e.livelock,
		"hangUp":     e.leave,
	}
}

// echo reads the whole body and answers its length and SHA-256.
func echo(w http.ResponseWriter, r *http.Request) error {
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, map[string]any{"bytes": n, "sha256": hex.EncodeToString(hash.Sum(nil))})
}

// download sends ?bytes= zero bytes.
func download(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "bytes must be a number")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Query().Get("chunked") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	_, err = io.Copy(w, io.LimitReader(zeros{}, n))
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// events sends an event every 20 ms until the client or the module leaves.
func events(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: tick\n\n", n); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return nil
		}
	}
}

// socket echoes WebSocket messages.
func socket(w http.ResponseWriter, r *http.Request) error {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return nil // the client left
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return nil
		}
	}
}

// trailers sends the body's checksum as a trailer, and the request's trailer back as a header of the body.
func trailers(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Trailer", "Checksum")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	_, err = fmt.Fprintf(w, "trailer was %q", r.Trailer.Get("From-Client"))
	w.Header().Set("Checksum", hex.EncodeToString(sum[:]))
	return err
}

// wait ends with the request's context, and counts how often that was early.
func (e *evil) wait(_ http.ResponseWriter, r *http.Request) error {
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	select {
	case <-r.Context().Done():
		e.canceled.Add(1)
		return r.Context().Err()
	case <-time.After(30 * time.Second):
		return nil
	}
}

func (e *evil) countCanceled(w http.ResponseWriter, _ *http.Request) error {
	return pluginapi.WriteJSON(w, http.StatusOK, e.canceled.Load())
}

func (e *evil) countWaiting(w http.ResponseWriter, _ *http.Request) error {
	return pluginapi.WriteJSON(w, http.StatusOK, e.waiting.Load())
}

// crash ends the process; with ?after=head, when part of the response is on its way.
func crash(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Query().Get("after") == "head" {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "part")
		_ = http.NewResponseController(w).Flush()
	}
	os.Exit(2)
	return nil
}

func environ(w http.ResponseWriter, _ *http.Request) error {
	return pluginapi.WriteJSON(w, http.StatusOK, os.Environ())
}

// livelock makes the module answer no question about its health any more.
func (e *evil) livelock(w http.ResponseWriter, _ *http.Request) error {
	e.livelocked.Store(true)
	return pluginapi.WriteJSON(w, http.StatusOK, true)
}

// leave closes the module's connections to the core.
func (e *evil) leave(w http.ResponseWriter, _ *http.Request) error {
	go e.hangUp()
	return pluginapi.WriteJSON(w, http.StatusOK, true)
}

// showRequest answers what the module sees of a request.
func showRequest(w http.ResponseWriter, r *http.Request) error {
	return pluginapi.WriteJSON(w, http.StatusOK, map[string]any{
		"path": r.URL.Path, "query": r.URL.RawQuery, "one": r.PathValue("one"), "rest": r.PathValue("rest"),
		"header": r.Header, "host": r.Host, "principal": pluginapi.PrincipalFrom(r.Context()),
	})
}

func (e *evil) dependency(w http.ResponseWriter, r *http.Request) error {
	dependency, err := e.core.Dependency(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, dependency)
}
