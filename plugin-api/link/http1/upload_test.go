package http1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// A module may answer before it has read the body, and read it all the same.
func TestAnswerThatOvertakesItsUploadKeepsTheConnection(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(c *peer, r *http.Request) {
		for err := error(nil); err == nil; r, err = http.ReadRequest(c.reader) {
			_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	for range 20 {
		res, _ := rig.Do(http.MethodPut, "/", strings.NewReader(strings.Repeat("x", 100<<10)))
		require.Equal(t, http.StatusAccepted, res.StatusCode)
	}
	require.EqualValues(t, 1, rig.Listener.Accepted.Load())
}

// The client has sent some of its body, and waits: for room in a module that reads no more, or on its own account.
func TestModuleDiesInAnUpload(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(_ *peer, r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1000) })
	for _, test := range []struct{ length, sent int }{{1e7, 1000}, {1e7, 100 << 10}, {2e5, 1000}, {2e5, 100 << 10}} {
		c := rig.Dial()
		_, err := fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s",
			test.length, strings.Repeat("x", test.sent))
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadGateway, res.StatusCode)
		require.True(t, res.Close, test)
	}
	for _, err := range rig.Results() {
		require.NotErrorIs(t, err, link.ErrRequestBody, "it was not the client's fault")
		require.NotErrorIs(t, err, context.Canceled)
	}
}

// net/http would take an upload that is broken off for a client that is gone, and end the context of one that is not.
func TestModuleEndsWhileTheClientSends(t *testing.T) {
	t.Parallel()
	for answer, status := range map[string]int{
		"": http.StatusBadGateway,
		"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n": http.StatusRequestEntityTooLarge,
	} {
		rig := scriptModule(t, func(c *peer, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			_, _ = io.WriteString(c, answer)
		})
		ended := make(chan error, 1)
		rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
			return w, r, func() { ended <- r.Context().Err() }
		}
		c := rig.Dial()
		_, err := io.WriteString(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
		require.NoError(t, err)
		stopped := linktest.Dribble(c)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, status, res.StatusCode)
		require.True(t, res.Close)
		require.NoError(t, <-ended)
		<-stopped
	}
}

// neverHurry makes the client wait for 100 Continue for ever.
func neverHurry(r *rig) {
	transport, ok := r.Front.Client().Transport.(*http.Transport)
	require.True(r.T, ok)
	transport.ExpectContinueTimeout = time.Hour
}

// Some servers know nothing of 100-continue and wait for the body.
func TestExpectContinueOfAModuleThatNeverAsks(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(c *peer, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		text := fmt.Sprint(n)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	})
	neverHurry(rig)
	_, text := rig.Do(http.MethodPut, "/", strings.NewReader(strings.Repeat("x", 100<<10)), func(r *http.Request) {
		r.Header.Set("Expect", "100-continue")
	})
	require.Equal(t, fmt.Sprint(100<<10), text)
}
