package conformance

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
	"github.com/platformd/platformd/plugin-api/link/spoofs"
)

func TestAnswersOfEverySize(t *testing.T) { each(t, answersOfEverySize) }

func answersOfEverySize(t *testing.T, on transport) {
	content := make([]byte, 1<<20+1)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		piece, _ := strconv.Atoi(r.URL.Query().Get("piece"))
		if r.URL.Query().Has("known") {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		for part := range slices.Chunk(content[:size], piece) {
			_, _ = w.Write(part)
			if r.URL.Query().Has("flush") {
				_ = http.NewResponseController(w).Flush()
			}
		}
	})
	for _, size := range []int{
		0, 1, 511, 512, 513, 2047, 2048, 2049, 4095, 4096, 4097, 32767, 32768, 32769, 65535, 65536, 65537, 131071, 131072, 131073,
		262143, 262144, 262145, 1<<20 - 1, 1 << 20, 1<<20 + 1,
	} {
		for _, piece := range []int{1 << 21, 32768, 7777} {
			for _, how := range []string{"", "&known", "&flush", "&known&flush"} {
				query := fmt.Sprintf("size=%d&piece=%d%s", size, piece, how)
				res := rig.Start(http.MethodGet, "/?"+query, nil)
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				require.NoError(t, err, query)
				require.Equal(t, sha256.Sum256(content[:size]), sha256.Sum256(body), query)
				if strings.Contains(how, "known") {
					require.EqualValues(t, size, res.ContentLength, query)
				}
			}
		}
	}
	require.LessOrEqual(t, rig.Listener.Accepted.Load(), on.conns)
}

// Readers that take nothing of large answers do not delay small ones.
func TestSlowReadersDelayNobody(t *testing.T) { alone(t, slowReadersDelayNobody) }

func slowReadersDelayNobody(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "large" {
			_, _ = io.Copy(w, io.LimitReader(linktest.Zeros{}, 64<<20))
		}
	})
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		res := rig.Start(http.MethodGet, "/?large", nil)
		readers.Go(func() {
			defer res.Body.Close()
			for buf := make([]byte, 4<<10); ; {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if _, err := res.Body.Read(buf); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	delays := make([]time.Duration, 200)
	for i := range delays {
		began := time.Now()
		res, _ := rig.Do(http.MethodGet, "/", nil)
		require.Equal(t, http.StatusOK, res.StatusCode)
		delays[i] = time.Since(began)
	}
	close(stop)
	readers.Wait()
	slices.Sort(delays)
	require.Less(t, delays[len(delays)/2], 50*time.Millisecond)
	require.Less(t, delays[len(delays)*95/100], 500*time.Millisecond)
}

// A client that is slow to take many tiny events gets them all, and disturbs nobody.
func TestSlowReaderOfTinyEvents(t *testing.T) { each(t, slowReaderOfTinyEvents) }

func slowReaderOfTinyEvents(t *testing.T, on transport) {
	const events = 100_000
	rig := on.rig(t)
	written := make(chan struct{})
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		if r.URL.RawQuery != "events" {
			return
		}
		defer close(written)
		w.Header().Set("Content-Type", "text/event-stream")
		for range events {
			if _, err := io.WriteString(w, "x"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	})})
	defer server.Close()
	rig.Front.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if tcp, ok := c.(*net.TCPConn); ok && state == http.StateNew {
			_ = tcp.SetWriteBuffer(4 << 10)
		}
	}
	rig.Front.Start()
	c := rig.Dial()
	tcp, ok := c.(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, tcp.SetReadBuffer(4<<10))
	_, err := io.WriteString(c, "GET /?events HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	for range 20 { // the events pile up meanwhile
		linktest.Tick(10 * time.Millisecond)
		res, _ := rig.Do(http.MethodGet, "/", nil)
		require.Equal(t, http.StatusOK, res.StatusCode)
	}
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, events, strings.Count(string(all), "x")-strings.Count(string(all[:200]), "text/"))
	<-written
}

// No handler can make the core hold much: an endless answer stands still with its reader.
func TestEndlessAnswersEndWithTheirReader(t *testing.T) { each(t, endlessAnswersEndWithTheirReader) }

func endlessAnswersEndWithTheirReader(t *testing.T, on transport) {
	ended := make(chan struct{}, 3)
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		piece := make([]byte, map[string]int{"tiny": 1, "small": 1000, "large": 100 << 10}[r.URL.RawQuery])
		for {
			if _, err := w.Write(piece); err != nil {
				return
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	for _, size := range []string{"tiny", "small", "large"} {
		res := rig.Start(http.MethodGet, "/?"+size, nil)
		_, err := io.CopyN(io.Discard, res.Body, 10_000)
		require.NoError(t, err)
		_ = res.Body.Close()
		<-ended
	}
}

func TestSpoofedHeadersNeverReachAHandler(t *testing.T) { each(t, spoofedHeadersNeverReachAHandler) }

func spoofedHeadersNeverReachAHandler(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, r.Header, r.Trailer)
	})
	for _, line := range spoofs.All() {
		c := rig.Dial()
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nX-Control: ok\r\nConnection: close\r\n%s\r\n\r\n", line)
		require.NoError(t, err)
		text, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Contains(t, string(text), "X-Control:[ok]", line)
		require.NotContains(t, string(text), "SPOOF", line)
	}
}
