package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// TestClientGoneCancelsTheModule: within 100 ms, in the median of five, as a loaded machine may stall any one of them.
func TestClientGoneCancelsTheModule(t *testing.T) { alone(t, clientGoneCancelsTheModule) }

func clientGoneCancelsTheModule(t *testing.T, on transport) {
	for name, head := range map[string]string{
		"get":                "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"post, body unread":  "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
		"in an upload":       "POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello",
		"in a chunked one":   "POST /read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"in an event stream": "GET /feed HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			started, ended := make(chan struct{}), make(chan time.Time)
			rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
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
				c := rig.Dial()
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

func TestDeadlineBeforeTheAnswer(t *testing.T) { each(t, deadlineBeforeTheAnswer) }

func deadlineBeforeTheAnswer(t *testing.T, on transport) {
	ended := make(chan struct{}, 1)
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- struct{}{}
	})
	rig.Wrap = linktest.WithTimeout(50 * time.Millisecond)
	for _, body := range []string{"", "small", strings.Repeat("large", 20<<10)} {
		res, _ := rig.Do(http.MethodPost, "/", strings.NewReader(body))
		require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
		<-ended
	}
	var failed *link.ExchangeError
	require.ErrorAs(t, rig.Result(), &failed)
	require.ErrorIs(t, failed, context.DeadlineExceeded)
	require.True(t, failed.Reached)
}

func TestNothingIsSentIfTheContextEndsMeanwhile(t *testing.T) {
	each(t, nothingIsSentIfTheContextEndsMeanwhile)
}

func nothingIsSentIfTheContextEndsMeanwhile(t *testing.T, on transport) {
	drain := make(chan context.CancelFunc, 1)
	called := func(http.ResponseWriter, *http.Request) { t.Error("called") }
	rig := on.module(t, called, func(_ *linktest.Rig, c *http1.ClientConfig) {
		c.CheckPeer = func(*net.UnixConn) error {
			(<-drain)()
			linktest.Tick(50 * time.Millisecond) // for the watch to hear of it
			return nil
		}
	})
	rig.Wrap = linktest.WithCancel(drain)
	rig.Do(http.MethodGet, "/", nil)
	require.ErrorIs(t, rig.Result(), context.Canceled)
}

func TestNothingIsSentOnceTheContextHasEnded(t *testing.T) {
	each(t, nothingIsSentOnceTheContextHasEnded)
}

func nothingIsSentOnceTheContextHasEnded(t *testing.T, on transport) {
	var seen atomic.Int64
	rig := on.module(t, func(http.ResponseWriter, *http.Request) { seen.Add(1) })
	rig.Do(http.MethodGet, "/first", nil) // there is an idle connection
	rig.Wrap = linktest.WithTimeout(-1)
	for _, body := range []string{"", "small", strings.Repeat("large", 20<<10)} {
		res, _ := rig.Do(http.MethodPost, "/", strings.NewReader(body))
		require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
	}
	require.EqualValues(t, 1, seen.Load())
}

func TestDeadlineWhileTheClientStalls(t *testing.T) { each(t, deadlineWhileTheClientStalls) }

func deadlineWhileTheClientStalls(t *testing.T, on transport) {
	for name, head := range map[string]string{
		"small body": "Content-Length: 5\r\n\r\nhel",
		"large body": "Content-Length: 100000\r\n\r\nhel",
		"chunked":    "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			rig.Wrap = linktest.WithTimeout(50 * time.Millisecond)
			c := rig.Dial()
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s", head)
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusGatewayTimeout, res.StatusCode)
			require.True(t, res.Close, "what may still come is not the next request")
			require.ErrorIs(t, rig.Result(), context.DeadlineExceeded)
		})
	}
}

func TestDeadlineInTheAnswer(t *testing.T) { each(t, deadlineInTheAnswer) }

func deadlineInTheAnswer(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "some")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	rig.Wrap = linktest.WithTimeout(200 * time.Millisecond)
	res := rig.Start(http.MethodGet, "/", nil)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.Error(t, err)
	require.Equal(t, "some", string(body))
	require.ErrorIs(t, rig.Abort(), context.DeadlineExceeded)
}

// A client that takes nothing must not outlive the route's deadline.
func TestDeadlineWhileTheClientTakesNothing(t *testing.T) {
	each(t, deadlineWhileTheClientTakesNothing)
}

func deadlineWhileTheClientTakesNothing(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, linktest.Zeros{}) })
	rig.Wrap = linktest.WithTimeout(300 * time.Millisecond)
	c := rig.Dial()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	require.ErrorIs(t, rig.Abort(), context.DeadlineExceeded)
}

func TestIdleClientIsCut(t *testing.T) { each(t, idleClientIsCut) }

func idleClientIsCut(t *testing.T, on transport) {
	quick := func(_ *linktest.Rig, c *http1.ClientConfig) { c.IdleTimeout = 100 * time.Millisecond }
	t.Run("takes nothing", func(t *testing.T) {
		t.Parallel()
		rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, linktest.Zeros{}) }, quick)
		c := rig.Dial()
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		require.NoError(t, err)
		require.ErrorIs(t, rig.Abort(), os.ErrDeadlineExceeded)
	})
	for name, head := range map[string]string{
		"sends nothing of a small body": "Content-Length: 5\r\n\r\n",
		"stops in a large body":         "Content-Length: 100000\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, quick)
			c := rig.Dial()
			_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s", head)
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			require.True(t, res.Close)
			require.ErrorIs(t, rig.Result(), link.ErrRequestBody)
			require.ErrorIs(t, rig.Result(), os.ErrDeadlineExceeded)
		})
	}
}

func TestSlowClientThatMovesLives(t *testing.T) { each(t, slowClientThatMovesLives) }

func slowClientThatMovesLives(t *testing.T, on transport) {
	const idle = 400 * time.Millisecond
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			linktest.Tick(idle * 2) // the client is not to blame for the module's time
			_, _ = w.Write(body)
		}
	}, func(_ *linktest.Rig, c *http1.ClientConfig) { c.IdleTimeout = idle })
	for _, declared := range []string{"Content-Length: 8", "Transfer-Encoding: chunked"} {
		c := rig.Dial()
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s\r\n\r\n", declared)
		require.NoError(t, err)
		for i := range 8 { // twice as long as the client may be idle
			linktest.Tick(idle / 4)
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
