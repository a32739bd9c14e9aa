package http1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client that only reads once it has been answered must be answered although the module left its body unread, and what it
// still sends must not become its next request.
func TestEarlyAnswerIsHonoured(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	for name, head := range map[string]string{
		"known length": "Content-Length: 1073741824\r\n\r\n",
		"within what net/http reads after an answer": "Content-Length: 100000\r\n\r\n",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		c := rig.dial()
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\n%s", head)
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		res, err := http.ReadResponse(reader, nil)
		require.NoError(t, err, name)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err, name)
		require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, name)
		require.Equal(t, "too much\n", string(body), name)
		require.True(t, res.Close, name)
		_, err = io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
		if err == nil {
			_, err = reader.ReadByte()
		}
		require.Error(t, err, "%s: the rest of a body must not be served as a request", name)
	}
	require.NoError(t, rig.result())
}

func TestEarlyAnswerToClientThatIsStillSending(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	res, body := rig.do(http.MethodPut, "/", io.LimitReader(zeros{}, 1<<30), func(r *http.Request) {
		r.ContentLength = 1 << 30
	})
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	require.Equal(t, "too much\n", body)
	rig.idle(0)
}

// An answer that is larger than what one read takes in is relayed while the upload still runs.
func TestEarlyLargeAnswer(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
	})
	for _, path := range []string{"/", "/close"} {
		c := rig.dial()
		_, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello", path)
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		res, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body) // all of it, before the body is sent on
		require.NoError(t, err)
		require.Len(t, body, 100<<10)
		require.Equal(t, path == "/close", res.Close, "the head says so if it was known")
		_, err = reader.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
	require.NoError(t, rig.result())
}

// r.Body is whatever the gateway made of it.
func TestBodyThatIsNotAsLongAsItSays(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, length := range []int64{100, 100 << 10} {
		for actual, fault := range map[int64]error{length - 1: io.ErrUnexpectedEOF, length + 1: errLongBody} {
			rig.wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
				r = r.Clone(r.Context())
				r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, actual)), length
				return w, r, func() {}
			}
			res, _ := rig.do(http.MethodPost, "/", nil)
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			rig.mu.Lock()
			require.ErrorIs(t, rig.results[len(rig.results)-1], fault)
			rig.mu.Unlock()
		}
	}
}

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
		res, _ := rig.do(http.MethodPut, "/", strings.NewReader(strings.Repeat("x", 100<<10)))
		require.Equal(t, http.StatusAccepted, res.StatusCode)
	}
	require.EqualValues(t, 1, rig.ln.accepted.Load())
}

func TestHandlerMayLeaveABodyUnread(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		w.WriteHeader(http.StatusAccepted)
	})
	for _, size := range []int{maxInline, maxInline + 1, 100 << 10, 1 << 20} {
		for range 10 {
			res, _ := rig.do(http.MethodPut, "/", strings.NewReader(strings.Repeat("x", size)))
			require.Equal(t, http.StatusAccepted, res.StatusCode, size)
		}
	}
}

func TestBodyOverTheLimit(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	rig.wrap = withBodyLimit(10)
	for _, size := range []int{10, 11, maxInline, maxInline + 1, 1 << 20} {
		for _, known := range []bool{true, false} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", size))
			if !known {
				body = io.MultiReader(body)
			}
			res, _ := rig.do(http.MethodPost, "/", body)
			want := http.StatusRequestEntityTooLarge
			if size == 10 {
				want = http.StatusOK
			}
			require.Equal(t, want, res.StatusCode, "size %d, known %v", size, known)
		}
	}
}

func withBodyLimit(n int64) func(http.ResponseWriter, *http.Request) (http.ResponseWriter, *http.Request, func()) {
	return func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		r = r.Clone(r.Context())
		r.Body = http.MaxBytesReader(nil, r.Body, n)
		return w, r, func() {}
	}
}

func TestBodyOverTheLimitEndsTheModulesRequest(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- err
	})
	rig.wrap = withBodyLimit(100 << 10)
	res, _ := rig.do(http.MethodPost, "/", io.LimitReader(zeros{}, 1<<20))
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	require.ErrorIs(t, <-ended, io.ErrUnexpectedEOF)
	var failed *ExchangeError
	require.ErrorAs(t, rig.result(), &failed)
	require.ErrorIs(t, failed, ErrRequestBody)
	require.True(t, failed.Reached)
}

func TestBodyFailsAfterTheHead(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	})
	rig.wrap = withBodyLimit(100 << 10)
	begun := make(chan struct{})
	body := readerFunc(func(p []byte) (int, error) { <-begun; return len(p), nil })
	res := rig.start(http.MethodPost, "/", io.MultiReader(strings.NewReader("x"), body))
	defer res.Body.Close()
	close(begun)
	_, err := io.ReadAll(res.Body)
	require.Error(t, err)
	var tooLarge *http.MaxBytesError
	require.ErrorAs(t, rig.abort(), &tooLarge)
}

// The client has sent some of its body, and waits: for room in a module that reads no more, or on its own account.
func TestModuleDiesInAnUpload(t *testing.T) {
	t.Parallel()
	rig := scriptModule(t, func(_ *peer, r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1000) })
	for _, test := range []struct{ length, sent int }{{1e7, 1000}, {1e7, 100 << 10}, {2e5, 1000}, {2e5, 100 << 10}} {
		c := rig.dial()
		_, err := fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s",
			test.length, strings.Repeat("x", test.sent))
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadGateway, res.StatusCode)
		require.True(t, res.Close, test)
	}
	rig.mu.Lock()
	defer rig.mu.Unlock()
	for _, err := range rig.results {
		require.NotErrorIs(t, err, ErrRequestBody, "it was not the client's fault")
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
		rig.wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
			return w, r, func() { ended <- r.Context().Err() }
		}
		c := rig.dial()
		_, err := io.WriteString(c, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
		require.NoError(t, err)
		stopped := dribble(c)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, status, res.StatusCode)
		require.True(t, res.Close)
		require.NoError(t, <-ended)
		<-stopped
	}
}

// dribble writes to c until that fails; then it closes the channel.
func dribble(c io.Writer) <-chan struct{} {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, err := c.Write(make([]byte, 100)); err == nil; _, err = c.Write(make([]byte, 100)) {
			tick(time.Millisecond)
		}
	}()
	return stopped
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		path   string
		size   int
		status int
		asked  bool
	}{
		"wanted, small":   {"/read", 10, http.StatusOK, true},
		"wanted, large":   {"/read", 1 << 20, http.StatusOK, true},
		"refused, large":  {"/refuse", 1 << 20, http.StatusForbidden, false},
		"refused, larger": {"/refuse", 1 << 40, http.StatusForbidden, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			rig := serveModule(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/refuse" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				n, _ := io.Copy(io.Discard, r.Body)
				_, _ = fmt.Fprint(w, n)
			})
			neverHurry(rig)
			body := readerFunc(func(p []byte) (int, error) { sent.Add(int64(len(p))); return len(p), nil })
			res, text := rig.do(http.MethodPut, test.path, io.LimitReader(body, int64(test.size)), func(r *http.Request) {
				r.ContentLength = int64(test.size)
				r.Header.Set("Expect", "100-continue")
			})
			require.Equal(t, test.status, res.StatusCode)
			if test.asked {
				require.Equal(t, fmt.Sprint(test.size), text)
			} else {
				require.Zero(t, sent.Load(), "the client was not asked for its body")
			}
		})
	}
}

// neverHurry makes the client wait for 100 Continue for ever.
func neverHurry(r *rig) {
	transport, ok := r.front.Client().Transport.(*http.Transport)
	require.True(r.t, ok)
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
	_, text := rig.do(http.MethodPut, "/", strings.NewReader(strings.Repeat("x", 100<<10)), func(r *http.Request) {
		r.Header.Set("Expect", "100-continue")
	})
	require.Equal(t, fmt.Sprint(100<<10), text)
}

// The upload is blocked in the module's socket and the answer is half written when the exchange must end.
func TestExchangeReturnsWhileItsUploadIsBlocked(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	rig := serveModule(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 10<<10))
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	drain := make(chan context.CancelFunc, 1)
	rig.wrap = withCancel(drain)
	res := rig.start(http.MethodPost, "/", io.LimitReader(zeros{}, 1<<40))
	defer res.Body.Close()
	(<-drain)()
	_, err := io.ReadAll(res.Body)
	require.Error(t, err)
	require.ErrorIs(t, rig.abort(), context.Canceled) // goleak finds what is left behind
	close(release)
}

// A client that has sent more than it may must be able to read that it has: no reset may overtake the answer.
func TestRefusedBodyIsAnsweredWithoutAReset(t *testing.T) {
	t.Parallel()
	rig := serveModule(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	rig.wrap = withBodyLimit(10)
	for _, size := range []int{30000, 100000} {
		c := rig.dial()
		_, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size))
		require.NoError(t, err)
		reader := bufio.NewReader(c)
		res, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
		require.True(t, res.Close)
		_, err = reader.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
}
