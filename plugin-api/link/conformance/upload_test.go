package conformance

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

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// A client that only reads once it has been answered must be answered although the module left its body unread, and what it
// still sends must not become its next request.
func TestEarlyAnswerIsHonoured(t *testing.T) { each(t, earlyAnswerIsHonoured) }

func earlyAnswerIsHonoured(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	for name, head := range map[string]string{
		"known length": "Content-Length: 1073741824\r\n\r\n",
		"within what net/http reads after an answer": "Content-Length: 100000\r\n\r\n",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		c := rig.Dial()
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
	require.NoError(t, rig.Result())
}

func TestEarlyAnswerToClientThatIsStillSending(t *testing.T) {
	each(t, earlyAnswerToClientThatIsStillSending)
}

func earlyAnswerToClientThatIsStillSending(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	})
	res, body := rig.Do(http.MethodPut, "/", io.LimitReader(linktest.Zeros{}, 1<<30), func(r *http.Request) {
		r.ContentLength = 1 << 30
	})
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	require.Equal(t, "too much\n", body)
}

// An answer that is larger than what one read takes in is relayed while the upload still runs.
func TestEarlyLargeAnswer(t *testing.T) { each(t, earlyLargeAnswer) }

func earlyLargeAnswer(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
	})
	for _, path := range []string{"/", "/close"} {
		c := rig.Dial()
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
	require.NoError(t, rig.Result())
}

// r.Body is whatever the gateway made of it.
func TestBodyThatIsNotAsLongAsItSays(t *testing.T) { each(t, bodyThatIsNotAsLongAsItSays) }

func bodyThatIsNotAsLongAsItSays(t *testing.T, on transport) {
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, length := range []int64{100, 100 << 10} {
		for actual, fault := range map[int64]error{length - 1: io.ErrUnexpectedEOF, length + 1: hop.ErrLongBody} {
			rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
				r = r.Clone(r.Context())
				r.Body, r.ContentLength = io.NopCloser(io.LimitReader(linktest.Zeros{}, actual)), length
				return w, r, func() {}
			}
			res, _ := rig.Do(http.MethodPost, "/", nil)
			require.Equal(t, http.StatusBadRequest, res.StatusCode)
			require.ErrorIs(t, rig.Results()[len(rig.Results())-1], fault)
		}
	}
}

func TestHandlerMayLeaveABodyUnread(t *testing.T) { each(t, handlerMayLeaveABodyUnread) }

func handlerMayLeaveABodyUnread(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, 1000)
		w.WriteHeader(http.StatusAccepted)
	})
	for _, size := range []int{hop.MaxInline, hop.MaxInline + 1, 100 << 10, 1 << 20} {
		for range 10 {
			res, _ := rig.Do(http.MethodPut, "/", strings.NewReader(strings.Repeat("x", size)))
			require.Equal(t, http.StatusAccepted, res.StatusCode, size)
		}
	}
}

func TestBodyOverTheLimit(t *testing.T) { each(t, bodyOverTheLimit) }

func bodyOverTheLimit(t *testing.T, on transport) {
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	rig.Wrap = linktest.WithBodyLimit(10)
	for _, size := range []int{10, 11, hop.MaxInline, hop.MaxInline + 1, 1 << 20} {
		for _, known := range []bool{true, false} {
			var body io.Reader = strings.NewReader(strings.Repeat("x", size))
			if !known {
				body = io.MultiReader(body)
			}
			res, _ := rig.Do(http.MethodPost, "/", body)
			want := http.StatusRequestEntityTooLarge
			if size == 10 {
				want = http.StatusOK
			}
			require.Equal(t, want, res.StatusCode, "size %d, known %v", size, known)
		}
	}
}

func TestBodyOverTheLimitEndsTheModulesRequest(t *testing.T) {
	each(t, bodyOverTheLimitEndsTheModulesRequest)
}

func bodyOverTheLimitEndsTheModulesRequest(t *testing.T, on transport) {
	ended := make(chan error, 1)
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		ended <- err
	})
	rig.Wrap = linktest.WithBodyLimit(100 << 10)
	res, _ := rig.Do(http.MethodPost, "/", io.LimitReader(linktest.Zeros{}, 1<<20))
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	require.ErrorIs(t, <-ended, io.ErrUnexpectedEOF)
	var failed *link.ExchangeError
	require.ErrorAs(t, rig.Result(), &failed)
	require.ErrorIs(t, failed, link.ErrRequestBody)
	require.True(t, failed.Reached)
}

func TestBodyFailsAfterTheHead(t *testing.T) { each(t, bodyFailsAfterTheHead) }

func bodyFailsAfterTheHead(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(w, r.Body)
	})
	rig.Wrap = linktest.WithBodyLimit(100 << 10)
	begun := make(chan struct{})
	body := linktest.ReaderFunc(func(p []byte) (int, error) { <-begun; return len(p), nil })
	res := rig.Start(http.MethodPost, "/", io.MultiReader(strings.NewReader("x"), body))
	defer res.Body.Close()
	close(begun)
	_, err := io.ReadAll(res.Body)
	require.Error(t, err)
	var tooLarge *http.MaxBytesError
	require.ErrorAs(t, rig.Abort(), &tooLarge)
}

func TestExpectContinue(t *testing.T) { each(t, expectContinue) }

func expectContinue(t *testing.T, on transport) {
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
			rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/refuse" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				n, _ := io.Copy(io.Discard, r.Body)
				_, _ = fmt.Fprint(w, n)
			})
			neverHurry(rig)
			body := linktest.ReaderFunc(func(p []byte) (int, error) { sent.Add(int64(len(p))); return len(p), nil })
			res, text := rig.Do(http.MethodPut, test.path, io.LimitReader(body, int64(test.size)), func(r *http.Request) {
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

// The upload is blocked in the module's socket and the answer is half written when the exchange must end.
func TestExchangeReturnsWhileItsUploadIsBlocked(t *testing.T) {
	each(t, exchangeReturnsWhileItsUploadIsBlocked)
}

func exchangeReturnsWhileItsUploadIsBlocked(t *testing.T, on transport) {
	release := make(chan struct{})
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", 10<<10))
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	drain := make(chan context.CancelFunc, 1)
	rig.Wrap = linktest.WithCancel(drain)
	res := rig.Start(http.MethodPost, "/", io.LimitReader(linktest.Zeros{}, 1<<40))
	defer res.Body.Close()
	(<-drain)()
	_, err := io.ReadAll(res.Body)
	require.Error(t, err)
	require.ErrorIs(t, rig.Abort(), context.Canceled) // goleak finds what is left behind
	close(release)
}

// A client that has sent more than it may must be able to read that it has: no reset may overtake the answer.
func TestRefusedBodyIsAnsweredWithoutAReset(t *testing.T) {
	each(t, refusedBodyIsAnsweredWithoutAReset)
}

func refusedBodyIsAnsweredWithoutAReset(t *testing.T, on transport) {
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	rig.Wrap = linktest.WithBodyLimit(10)
	for _, size := range []int{30000, 100000} {
		c := rig.Dial()
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

// neverHurry makes the client wait for 100 Continue for ever.
func neverHurry(r *linktest.Rig) {
	transport, ok := r.Front.Client().Transport.(*http.Transport)
	require.True(r.T, ok)
	transport.ExpectContinueTimeout = time.Hour
}
