package http1

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// discardWriter is a ResponseWriter that costs nothing.
type discardWriter struct{ header http.Header }

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }

func (w *discardWriter) WriteHeader(int) {}

func (w *discardWriter) FlushError() error { return nil }

func (w *discardWriter) SetReadDeadline(time.Time) error { return nil }

func (w *discardWriter) SetWriteDeadline(time.Time) error { return nil }

const smallAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n" +

	"Content-Length: 27\r\n\r\n{\"id\":1,\"title\":\"a title\"}\n"

// answerForever answers each request, which must arrive in one piece, without allocating.
func answerForever(c net.Conn) {
	defer c.Close()
	buf, answer := make([]byte, 8<<10), []byte(smallAnswer)
	for {
		if n, err := c.Read(buf); err != nil || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// BenchmarkExchangeSmall is the core's half alone: what Exchange itself costs for a small GET.
func BenchmarkExchangeSmall(b *testing.B) {
	path := linktest.SocketPath(b)
	ln := linktest.Listen(b, path)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			answerForever(c)
		}
	}()
	client := NewClient(ClientConfig{Socket: path, Secret: linktest.Secret(), IdleTimeout: time.Minute})
	defer func() { client.Close(); <-done }()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/posts/42?fields=id", nil)
	r.Body, r.Header = http.NoBody, browserHeader()
	call := &link.Call{
		Route: "getPost", Path: "/posts/42", Timeout: 30 * time.Second,
		Params:    []link.Param{{Name: "id", Value: "42"}},
		Principal: link.Principal{Kind: link.KindToken, ID: "tok_1", Name: "ci"},
	}
	w := &discardWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		if err := client.Exchange(w, r, call); err != nil {
			b.Fatal(err)
		}
	}
}

func browserHeader() http.Header {
	return http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"gzip, deflate, br"},
		"User-Agent":      {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},
		"Authorization":   {"Bearer pfd_secret"},
		"X-Request-Id":    {"01JD8Z0000000000000000000"},
		"Traceparent":     {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
}

// BenchmarkRoundTripSmall is the whole way of a small GET: net/http's client and server, and both halves.
func BenchmarkRoundTripSmall(b *testing.B) {
	rig := serveModule(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":1,"title":"a title"}`)
	}, func(r *rig, _ *ClientConfig) { r.Raw = true })
	b.ReportAllocs()
	for b.Loop() {
		res, err := rig.Front.Client().Get(rig.Front.URL + "/posts")
		require.NoError(b, err)
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

// BenchmarkDownload is a body of 64 MiB through both halves, in MB/s.
func BenchmarkDownload(b *testing.B) {
	const size = 64 << 20
	rig := serveModule(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "67108864")
		_, _ = io.Copy(w, io.LimitReader(linktest.Zeros{}, size))
	}, func(r *rig, _ *ClientConfig) { r.Raw = true })
	b.SetBytes(size)
	for b.Loop() {
		res, err := rig.Front.Client().Get(rig.Front.URL)
		require.NoError(b, err)
		n, _ := io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		require.EqualValues(b, size, n)
	}
}

// BenchmarkUpload is a body of 64 MiB the other way.
func BenchmarkUpload(b *testing.B) {
	const size = 64 << 20
	rig := serveModule(b, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(r *rig, _ *ClientConfig) { r.Raw = true })
	b.SetBytes(size)
	for b.Loop() {
		req := rig.Request(http.MethodPut, "/", io.LimitReader(linktest.Zeros{}, size))
		req.ContentLength = size
		res, err := rig.Front.Client().Do(req)
		require.NoError(b, err)
		_ = res.Body.Close()
		require.Equal(b, http.StatusOK, res.StatusCode)
	}
}
