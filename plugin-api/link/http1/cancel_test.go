package http1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestClientGoneCancelsTheModule: within 100 ms, in the median of five, as a loaded machine may stall any one of them.
func TestClientGoneCancelsTheModule(t *testing.T) {
	for name, head := range map[string]string{
		"get":                "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"post, body unread":  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		"in an upload":       "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello",
		"in a chunked one":   "POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"in an event stream": "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			started, ended := make(chan struct{}), make(chan time.Time)
			rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/feed" {
					_ = http.NewResponseController(w).Flush()
				}
				started <- struct{}{}
				if r.URL.Path == "/read" {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				<-r.Context().Done()
				ended <- time.Now()
			})
			var delays []time.Duration
			for range 5 {
				c := rig.dial()
				_, err := io.WriteString(c, head)
				require.NoError(t, err)
				<-started
				gone := time.Now()
				require.NoError(t, c.Close())
				delays = append(delays, (<-ended).Sub(gone))
			}
			slices.Sort(delays)
			require.Less(t, delays[2], 100*time.Millisecond, delays)
		})
	}
}

func TestDeadlineBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 1)
	rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- struct{}{}
	})
	rig.wrap = withTimeout(50 * time.Millisecond)
	for _, body := range []string{"", "small", strings.Repeat("large", 20<<10)} {
		res, _ := rig.do(http.MethodPost, "/", strings.NewReader(body))
		require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
		<-ended
	}
	var failed *ExchangeError
	require.ErrorAs(t, rig.result(), &failed)
	require.ErrorIs(t, failed, context.DeadlineExceeded)
	require.True(t, failed.Reached)
}

func withTimeout(d time.Duration) func(http.ResponseWriter, *http.Request) (http.ResponseWriter, *http.Request, func()) {
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		return w, r.WithContext(ctx), cancel
	}
}

func TestNothingIsSentIfTheContextEndsMeanwhile(t *testing.T) {
	t.Parallel()
	drain := make(chan context.CancelFunc, 1)
	rig := serveModule(t, func(http.ResponseWriter, *http.Request) { t.Error("called") }, func(_ *rig, c *ClientConfig) {
		c.CheckPeer = func(*net.UnixConn) error {
			(<-drain)()
			tick(50 * time.Millisecond) // for the watch to hear of it
			return nil
		}
	})
	rig.wrap = withCancel(drain)
	rig.do(http.MethodGet, "/", nil)
	require.ErrorIs(t, rig.result(), context.Canceled)
}

func TestWatchThatHasExpired(t *testing.T) {
	t.Parallel()
	s := watch{ended: make(chan struct{}, 1)}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("x"))
	s.reset(httptest.NewRecorder(), r, time.Second)
	require.True(t, s.beginAnswer())
	require.True(t, s.attach(nil))
	s.expire()
	require.False(t, s.beginAnswer())
	require.False(t, s.attach(nil))
	_, err := s.read(r.Body, make([]byte, 1))
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	require.NoError(t, s.bodyFault())
}

func TestWhoIsToBlameForABody(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reading bool
		idle    time.Duration
		stalls  time.Time
		err     error
		blamed  bool
	}{
		"the client broke off":                   {true, 0, time.Time{}, io.ErrUnexpectedEOF, true},
		"the client broke off as we stopped":     {false, 0, time.Time{}, io.ErrUnexpectedEOF, true},
		"the server's own deadline":              {true, 0, time.Time{}, os.ErrDeadlineExceeded, true},
		"we stopped":                             {false, 0, time.Time{}, os.ErrDeadlineExceeded, false},
		"we stopped before the client stalled":   {false, time.Hour, time.Now().Add(time.Hour), os.ErrDeadlineExceeded, false},
		"it stalled, and that ended the context": {false, time.Second, time.Now(), os.ErrDeadlineExceeded, true},
	} {
		s := watch{reading: test.reading, idle: test.idle, stalls: test.stalls}
		s.blame(test.err)
		require.Equal(t, test.blamed, s.bodyFault() != nil, name)
	}
}

// withCancel hands out what cancels a request's context, as a gateway that drains does.
func withCancel(drain chan<- context.CancelFunc) func(http.ResponseWriter, *http.Request) (
	http.ResponseWriter, *http.Request, func(),
) {
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		ctx, cancel := context.WithCancel(r.Context())
		drain <- cancel
		return w, r.WithContext(ctx), cancel
	}
}

func TestNothingIsSentOnceTheContextHasEnded(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	rig := serveModule(t, func(http.ResponseWriter, *http.Request) { seen.Add(1) })
	rig.do(http.MethodGet, "/first", nil) // there is an idle connection
	rig.wrap = withTimeout(-1)
	for _, body := range []string{"", "small", strings.Repeat("large", 20<<10)} {
		res, _ := rig.do(http.MethodPost, "/", strings.NewReader(body))
		require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
	}
	require.EqualValues(t, 1, seen.Load())
}

func TestDeadlineWhileTheClientStalls(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{
		"small body": "Content-Length: 5\r\n\r\nhel",
		"large body": "Content-Length: 100000\r\n\r\nhel",
		"chunked":    "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			rig.wrap = withTimeout(50 * time.Millisecond)
			c := rig.dial()
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s", head)
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
			require.True(t, res.Close, "what may still come is not the next request")
			require.ErrorIs(t, rig.result(), context.DeadlineExceeded)
		})
	}
}

func TestDeadlineInTheAnswer(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	rig.wrap = withTimeout(200 * time.Millisecond)
	res := rig.start(http.MethodGet, "/", nil)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.Error(t, err)
	require.Equal(t, "some", string(body))
	require.ErrorIs(t, rig.abort(), context.DeadlineExceeded)
}

// A client that takes nothing must not outlive the route's deadline.
func TestDeadlineWhileTheClientTakesNothing(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, zeros{}) })
	rig.wrap = withTimeout(300 * time.Millisecond)
	c := rig.dial()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	require.ErrorIs(t, rig.abort(), context.DeadlineExceeded)
}

func TestIdleClientIsCut(t *testing.T) {
	t.Parallel()
	quick := func(_ *rig, c *ClientConfig) { c.IdleTimeout = 100 * time.Millisecond }
	t.Run("takes nothing", func(t *testing.T) {
		t.Parallel()
		rig := serveModule(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, zeros{}) }, quick)
		c := rig.dial()
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.NoError(t, err)
		require.ErrorIs(t, rig.abort(), os.ErrDeadlineExceeded)
	})
	for name, head := range map[string]string{
		"sends nothing of a small body": "Content-Length: 5\r\n\r\n",
		"stops in a large body":         "Content-Length: 100000\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, quick)
			c := rig.dial()
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s", head)
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			require.True(t, res.Close)
			require.ErrorIs(t, rig.result(), ErrRequestBody)
			require.ErrorIs(t, rig.result(), os.ErrDeadlineExceeded)
		})
	}
}

func TestSlowClientThatMovesLives(t *testing.T) {
	t.Parallel()
	const idle = 400 * time.Millisecond
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			tick(idle * 2) // the client is not to blame for the module's time
			_, _ = w.Write(body)
		}
	}, func(_ *rig, c *ClientConfig) { c.IdleTimeout = idle })
	for _, declared := range []string{"Content-Length: 8", "Transfer-Encoding: chunked"} {
		c := rig.dial()
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", declared)
		require.NoError(t, err)
		for i := range 8 { // twice as long as the client may be idle
			tick(idle / 4)
			piece := fmt.Sprint(i)
			if strings.HasPrefix(declared, "T") {
				piece = "1\r\n" + piece + "\r\n"
			}
			_, err := io.WriteString(c, piece)
			require.NoError(t, err)
		}
		if strings.HasPrefix(declared, "T") {
			_, err := io.WriteString(c, "0\r\n\r\n")
			require.NoError(t, err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "01234567", string(body))
	}
}

// tick lets time pass, where time is what a test is about.
func tick(d time.Duration) { <-time.After(d) }

func TestKilledModuleCutsTheBody(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(c *peer, _ *http.Request) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 100<<10))
	})
	res := rig.start(http.MethodGet, "/", nil)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotEmpty(t, body)
	require.ErrorIs(t, rig.abort(), io.ErrUnexpectedEOF)
}
