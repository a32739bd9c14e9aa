package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

func TestExchangeTellsTheModuleWhatTheCoreDecided(t *testing.T) {
	each(t, exchangeTellsTheModuleWhatTheCoreDecided)
}

func exchangeTellsTheModuleWhatTheCoreDecided(t *testing.T, on transport) {
	sent := &link.Call{
		Route:     "getComment",
		Params:    []link.Param{{Name: "id", Value: "a/b ü"}, {Name: "rest", Value: "x%2fy\n"}},
		Principal: link.Principal{Kind: link.KindToken, ID: "tok_1", Name: `ci "bot" <ü>`},
		Path:      "/posts/a b/%2f/ü",
		Timeout:   1500 * time.Millisecond,
	}
	var got link.Call
	var params []string
	var left time.Duration
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		got = *link.FromContext(r.Context())
		params = []string{r.PathValue("id"), r.PathValue("rest")}
		deadline, _ := r.Context().Deadline()
		left = time.Until(deadline)
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %s %v", r.Method, r.Host, r.URL.RawQuery, r.Header)
	})
	rig.Call = func(*http.Request) *link.Call { return sent }
	res, body := rig.Do(http.MethodGet, "/ignored?q=a%20b&q=<ü>", nil, func(r *http.Request) {
		r.Host = "example.org"
		r.Header = http.Header{"User-Agent": {"test"}, "Cookie": {"a=b"}, "X-List": {"1", "2"}, "Authorization": {"Bearer x"}}
	})
	require.Equal(t, http.StatusTeapot, res.StatusCode)
	require.Equal(t, *sent, got)
	require.Equal(t, []string{"a/b ü", "x%2fy\n"}, params)
	require.InDelta(t, 1.5, left.Seconds(), 1)
	require.Equal(t, "GET example.org q=a%20b&q=<%C3%BC> "+
		"map[Accept-Encoding:[gzip] Cookie:[a=b] User-Agent:[test] X-List:[1 2]]", body)
}

func TestExchangeSmallJSON(t *testing.T) { each(t, exchangeSmallJSON) }

func exchangeSmallJSON(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(body)) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	})
	res, body := rig.Do(http.MethodPost, "/posts", strings.NewReader(`{"title":"x"}`))
	require.Equal(t, http.StatusCreated, res.StatusCode)
	require.JSONEq(t, `{"title":"x"}`, body)
	require.Equal(t, []string{"a=1", "b=2"}, res.Header["Set-Cookie"])
	require.EqualValues(t, 13, res.ContentLength)
	require.NoError(t, rig.Result())
}

func TestExchangeBodiesOfEverySize(t *testing.T) { each(t, exchangeBodiesOfEverySize) }

func exchangeBodiesOfEverySize(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		_, _ = fmt.Fprintf(w, "%d %d %x %v", r.ContentLength, n, sum.Sum(nil), err)
	})
	for _, size := range []int{
		0, 1, 4095, hop.MaxInline - 1, hop.MaxInline, hop.MaxInline + 1, 65535, 65536, 65537,
		hop.BufferSize - 1, hop.BufferSize, hop.BufferSize + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1,
	} {
		for _, known := range []bool{true, false} {
			content := strings.Repeat("platform", size/8+1)[:size]
			var body io.Reader = strings.NewReader(content)
			declared := size
			if !known && size > 0 { // net/http's client sends no chunked body that is empty
				body, declared = io.MultiReader(body), -1
			}
			_, got := rig.Do(http.MethodPut, "/", body)
			sum := sha256.Sum256([]byte(content))
			want := fmt.Sprintf("%d %d %s <nil>", declared, size, hex.EncodeToString(sum[:]))
			require.Equal(t, want, got, "size %d, known %v", size, known)
		}
	}
	require.LessOrEqual(t, rig.Listener.Accepted.Load(), on.conns, "every body leaves its connection usable")
}

func TestExchangeEchoesWhileItUploads(t *testing.T) { each(t, exchangeEchoesWhileItUploads) }

func exchangeEchoesWhileItUploads(t *testing.T, on transport) {
	const size = 10 << 20
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	in, out := sha256.New(), sha256.New()
	res := rig.Start(http.MethodPost, "/", io.TeeReader(io.LimitReader(linktest.Zeros{}, size), in))
	defer res.Body.Close()
	n, err := io.Copy(out, res.Body)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	require.Equal(t, in.Sum(nil), out.Sum(nil))
}

// Not parallel, as the next one: they measure what the process allocates.
func TestExchangeDownloadsInConstantMemory(t *testing.T) { alone(t, exchangeDownloadsInConstantMemory) }

func exchangeDownloadsInConstantMemory(t *testing.T, on transport) {
	const size = 64 << 20
	for _, known := range []bool{true, false} {
		rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
			if known {
				w.Header().Set("Content-Length", fmt.Sprint(size))
			}
			_, _ = io.Copy(w, io.LimitReader(linktest.Zeros{}, size))
		})
		allocated := allocatedBy(func() {
			res := rig.Start(http.MethodGet, "/", nil)
			defer res.Body.Close()
			n, err := io.Copy(io.Discard, res.Body)
			require.NoError(t, err)
			require.EqualValues(t, size, n)
		})
		require.Less(t, allocated, uint64(4<<20), "length known: %v", known)
	}
}

func TestExchangeUploadsInConstantMemory(t *testing.T) { alone(t, exchangeUploadsInConstantMemory) }

func exchangeUploadsInConstantMemory(t *testing.T, on transport) {
	const size = 64 << 20
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	})
	for _, declared := range []int64{size, -1} {
		allocated := allocatedBy(func() {
			_, body := rig.Do(http.MethodPut, "/", io.LimitReader(linktest.Zeros{}, size), func(r *http.Request) {
				r.ContentLength = declared
			})
			require.Equal(t, fmt.Sprint(size, nil), body)
		})
		require.Less(t, allocated, uint64(4<<20), "declared %d", declared)
	}
}

// allocatedBy returns the bytes that f made the process allocate, freed or not.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestExchangeSlowReaderHoldsTheModuleBack(t *testing.T) {
	each(t, exchangeSlowReaderHoldsTheModuleBack)
}

func exchangeSlowReaderHoldsTheModuleBack(t *testing.T, on transport) {
	var written atomic.Int64
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			n, err := w.Write(make([]byte, 64<<10))
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	res := rig.Start(http.MethodGet, "/", nil)
	held := linktest.Settled(t, &written)
	require.Less(t, held, int64(32<<20), "what the module could write although nobody reads")
	_, err := io.CopyN(io.Discard, res.Body, held+1<<20)
	require.NoError(t, err)
	require.Greater(t, written.Load(), held, "reading lets the module go on")
	_ = res.Body.Close()
	require.ErrorContains(t, rig.Abort(), "context canceled")
}

func TestExchangeSlowModuleHoldsTheClientBack(t *testing.T) {
	each(t, exchangeSlowModuleHoldsTheClientBack)
}

func exchangeSlowModuleHoldsTheClientBack(t *testing.T, on transport) {
	var sent atomic.Int64
	release := make(chan struct{})
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) {
		<-release
		_, _ = io.Copy(io.Discard, r.Body)
	})
	const size = 64 << 20
	body := linktest.ReaderFunc(func(p []byte) (int, error) {
		sent.Add(int64(len(p)))
		return len(p), nil
	})
	req := rig.Request(http.MethodPut, "/", io.LimitReader(body, size))
	answered := make(chan error, 1)
	go func() {
		res, err := rig.Front.Client().Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		answered <- err
	}()
	held := linktest.Settled(t, &sent)
	require.Less(t, held, int64(32<<20), "what the client could send although the module does not read")
	close(release)
	require.NoError(t, <-answered)
	require.EqualValues(t, size, sent.Load())
}

func TestExchangeSendsEventsAtOnce(t *testing.T) { each(t, exchangeSendsEventsAtOnce) }

func exchangeSendsEventsAtOnce(t *testing.T, on transport) {
	for name, length := range map[string]string{"chunked": "", "with a Content-Length": "30"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := make(chan struct{})
			rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				for i := range 3 {
					_ = http.NewResponseController(w).Flush()
					select {
					case <-next:
					case <-r.Context().Done():
					}
					_, _ = fmt.Fprintf(w, "data: %d\n\n\n", i)
				}
			})
			res := rig.Start(http.MethodGet, "/feed", nil) // the head comes before the first event
			defer res.Body.Close()
			for i := range 3 {
				next <- struct{}{}
				event := make([]byte, 10)
				_, err := io.ReadFull(res.Body, event)
				require.NoError(t, err)
				require.Equal(t, fmt.Sprintf("data: %d\n\n\n", i), string(event))
			}
			rest, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			require.Empty(t, rest)
		})
	}
}

func TestExchangeForwardsTrailersBothWays(t *testing.T) { each(t, exchangeForwardsTrailersBothWays) }

func exchangeForwardsTrailersBothWays(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Announced, X-Empty")
		_, _ = w.Write(body)
		w.Header().Set("X-Announced", fmt.Sprint(r.Trailer))
		w.Header().Set(http.TrailerPrefix+"X-Late", "late")
		w.Header().Set(http.TrailerPrefix+"Platformd-Secret", "spoof")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "spoof")
	})
	for _, content := range []string{"x", ""} {
		res, body := rig.Do(http.MethodPost, "/", io.MultiReader(strings.NewReader(content)), func(r *http.Request) {
			r.ContentLength = -1
			r.Trailer = http.Header{
				"X-Sum": {"42"}, "Platformd-Principal": {"spoof"}, "Platformd_principal": {"spoof"}, "Authorization": {"spoof"},
			}
		})
		require.Equal(t, content, body)
		require.Equal(t, http.Header{
			"X-Announced": {"map[X-Sum:[42]]"}, "X-Empty": nil, "X-Late": {"late"},
		}, res.Trailer, "body %q", content)
	}
}

func TestExchangeAnswersWithoutABody(t *testing.T) { each(t, exchangeAnswersWithoutABody) }

func exchangeAnswersWithoutABody(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		case "/304":
			w.Header().Set("Etag", `"1"`)
			w.WriteHeader(http.StatusNotModified)
		case "/empty":
		default:
			w.Header().Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "content")
		}
	})
	for _, test := range []struct {
		method, path string
		status       int
		length       int64
	}{
		{http.MethodHead, "/", http.StatusOK, 7},
		{http.MethodGet, "/204", http.StatusNoContent, 0},
		{http.MethodGet, "/304", http.StatusNotModified, 0},
		{http.MethodGet, "/empty", http.StatusOK, 0},
		{http.MethodPost, "/empty", http.StatusOK, 0},
		{http.MethodGet, "/", http.StatusOK, 7},
	} {
		res, body := rig.Do(test.method, test.path, nil)
		require.Equal(t, test.status, res.StatusCode, test)
		require.Equal(t, test.length, res.ContentLength, test)
		require.Equal(t, test.method == http.MethodGet && test.path == "/", body == "content", test)
	}
	require.LessOrEqual(t, rig.Listener.Accepted.Load(), on.conns)
}

func TestExchangeLeavesTheContentTypeToTheModule(t *testing.T) {
	each(t, exchangeLeavesTheContentTypeToTheModule)
}

func exchangeLeavesTheContentTypeToTheModule(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		_, _ = io.WriteString(w, "<html><script>alert(1)</script>")
	})
	res, _ := rig.Do(http.MethodGet, "/", nil)
	require.NotContains(t, res.Header, "Content-Type")
}

func TestExchangeKeepsTheCoresHeaders(t *testing.T) { each(t, exchangeKeepsTheCoresHeaders) }

func exchangeKeepsTheCoresHeaders(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-Id", "module")
		w.Header().Set("Vary", "Accept")
		w.Header().Set("Set-Cookie", "b=2")
		w.Header().Set("Platformd-Secret", "spoof")
		w.Header().Set("platformd_x", "spoof")
		w.Header().Set("Connection", "X-Private")
		w.Header().Set("X-Private", "hop")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("X-Mine", "1")
	})
	rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		w.Header().Set("X-Request-Id", "core")
		w.Header().Set("Vary", "Origin")
		w.Header().Set("Set-Cookie", "a=1")
		return w, r, func() {}
	}
	res, _ := rig.Do(http.MethodGet, "/", nil)
	res.Header.Del("Date")
	require.Equal(t, http.Header{
		"X-Request-Id": {"core"}, "Vary": {"Origin", "Accept"}, "Set-Cookie": {"a=1", "b=2"}, "X-Mine": {"1"}, "Content-Length": {"0"},
	}, res.Header)
}

func TestExchangePassesEarlyHintsOn(t *testing.T) { each(t, exchangePassesEarlyHintsOn) }

func exchangePassesEarlyHintsOn(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		w.Header().Del("Link")
		w.Header().Set("X-Final", "1")
		_, _ = io.WriteString(w, "done")
	})
	var hints []string
	res, body := rig.Do(http.MethodGet, "/", nil, func(r *http.Request) {
		*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				hints = append(hints, fmt.Sprint(code, header["Link"]))
				return nil
			},
		}))
	})
	require.Equal(t, []string{"103 [</style.css>; rel=preload]"}, hints)
	require.Equal(t, "done", body)
	require.NotContains(t, res.Header, "Link")
	require.Equal(t, "1", res.Header.Get("X-Final"))
}

func TestExchangeOverHTTP2(t *testing.T) { each(t, exchangeOverHTTP2) }

func exchangeOverHTTP2(t *testing.T, on transport) {
	const idle = time.Second
	next := make(chan struct{})
	rig := on.rig(t, func(_ *linktest.Rig, c *http1.ClientConfig) { c.IdleTimeout = idle })
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		<-next
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintln(w, n, r.Trailer)
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = fmt.Fprintln(w, "bye")
		w.Header().Set(http.TrailerPrefix+"X-Late", "late")
	})})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	rig.Front.EnableHTTP2 = true
	rig.Front.StartTLS()
	go func() { // twice, the module is quiet for longer than a client may be idle
		for range 2 {
			timer := time.NewTimer(2 * idle)
			<-timer.C
			next <- struct{}{}
		}
	}()
	res, body := rig.Do(http.MethodPost, "/", io.LimitReader(linktest.Zeros{}, 4<<20), func(r *http.Request) {
		r.Trailer = http.Header{"X-Sum": {"1"}}
	})
	require.Equal(t, 2, res.ProtoMajor)
	require.Equal(t, "4194304 map[X-Sum:[1]]\nbye\n", body)
	require.Equal(t, http.Header{"X-Late": {"late"}}, res.Trailer)
}

func TestExchangeRefusesACallThatCannotBeSent(t *testing.T) {
	each(t, exchangeRefusesACallThatCannotBeSent)
}

func exchangeRefusesACallThatCannotBeSent(t *testing.T, on transport) {
	rig := on.module(t, func(http.ResponseWriter, *http.Request) {})
	good := link.Call{Route: "r", Path: "/", Principal: link.Anonymous()}
	for name, spoil := range map[string]func(*link.Call, *http.Request){
		"no route":           func(c *link.Call, _ *http.Request) { c.Route = "" },
		"route with a break": func(c *link.Call, _ *http.Request) { c.Route = "a\r\nPlatformd-Route: b" },
		"no principal":       func(c *link.Call, _ *http.Request) { c.Principal = link.Principal{} },
		"relative path":      func(c *link.Call, _ *http.Request) { c.Path = "x" },
		"header value":       func(_ *link.Call, r *http.Request) { r.Header.Set("X", "a\r\nPlatformd-Route: b") },
		"header name":        func(_ *link.Call, r *http.Request) { r.Header["X: a\r\nY"] = []string{"b"} },
		"method":             func(_ *link.Call, r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX:" },
		"host":               func(_ *link.Call, r *http.Request) { r.Host = "a\r\nX: b" },
	} {
		call := good
		rig.Call = func(r *http.Request) *link.Call { spoil(&call, r); return &call }
		res, _ := rig.Do(http.MethodGet, "/", nil)
		require.Equal(t, http.StatusBadGateway, res.StatusCode, name)
	}
	require.Zero(t, rig.Listener.Accepted.Load(), "nothing was sent")
}

func TestExchangeSendsNoQueryThatEndsTheLine(t *testing.T) {
	each(t, exchangeSendsNoQueryThatEndsTheLine)
}

func exchangeSendsNoQueryThatEndsTheLine(t *testing.T, on transport) {
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.RawQuery) })
	rig.Wrap = func(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
		r.URL = &url.URL{Path: "/", RawQuery: "a b\r\nX: y#z\xff%20"}
		return w, r, func() {}
	}
	_, body := rig.Do(http.MethodGet, "/", nil)
	require.Equal(t, "a%20b%0D%0AX:%20y%23z%FF%20", body)
}

func TestExchangeWithoutAModule(t *testing.T) { each(t, exchangeWithoutAModule) }

func exchangeWithoutAModule(t *testing.T, on transport) {
	rig := on.rig(t)
	rig.Front.Start()
	require.NoError(t, rig.Listener.Close())
	res, _ := rig.Do(http.MethodPost, "/", strings.NewReader("x"))
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	var failed *link.ExchangeError
	require.ErrorAs(t, rig.Result(), &failed)
	require.False(t, failed.Reached)
	require.ErrorContains(t, failed, "connect to the module's data socket")
}

func TestExchangeAsksWhoListens(t *testing.T) { each(t, exchangeAsksWhoListens) }

func exchangeAsksWhoListens(t *testing.T, on transport) {
	rig := on.module(t, func(http.ResponseWriter, *http.Request) {}, func(_ *linktest.Rig, c *http1.ClientConfig) {
		c.CheckPeer = func(c *net.UnixConn) error { return fmt.Errorf("peer of %s is a stranger", c.RemoteAddr().Network()) }
	})
	res, _ := rig.Do(http.MethodGet, "/", nil)
	require.Equal(t, http.StatusBadGateway, res.StatusCode)
	require.ErrorContains(t, rig.Result(), "peer of unix is a stranger")
}
