package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// soon bounds what must happen without a long wait, on a busy machine too.
const soon = 15 * time.Second

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	body := func(n int) string { return strings.Repeat("a", n) }
	chunked := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) } // hides the length
	const post, upload = "/api/v1/echo/post", "/api/v1/echo/upload"
	for _, c := range []struct {
		name   string
		path   string
		body   io.Reader
		status int
	}{
		{"announced, at the limit", post, strings.NewReader(body(1 << 10)), 200},
		{"announced, over it", post, strings.NewReader(body(1<<10 + 1)), 413},
		{"chunked, at the limit", post, chunked(body(1 << 10)), 200},
		{"chunked, over it", post, chunked(body(1<<10 + 1)), 413},
		{"chunked, far over it", post, chunked(body(1 << 20)), 413},
		{"stream, at the limit", upload, strings.NewReader(body(4 << 20)), 200},
		{"stream, over it", upload, strings.NewReader(body(4<<20 + 1)), 413},
		{"stream chunked, at the limit", upload, chunked(body(4 << 20)), 200},
		{"stream chunked, over it", upload, chunked(body(4<<20 + 1)), 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := f.do(http.MethodPost, c.path, c.body)
			if c.status != http.StatusOK {
				p := answer.requireProblem(t, c.status, "too_large")
				require.Contains(t, p.Detail, "iB")
				return
			}
			require.NotEmpty(t, answer.seen(t).Body)
		})
	}
	t.Run("nobody is asked for a body that is too large", func(t *testing.T) {
		answer := f.raw("POST " + post + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n")
		answer.requireProblem(t, http.StatusRequestEntityTooLarge, "too_large")
	})
	require.NotContains(t, f.log.String(), "panic")
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	for _, path := range []string{"/api/v1/echo/slow", "/api/v1/echo/late"} {
		began := time.Now()
		f.get(path).requireProblem(t, http.StatusGatewayTimeout, "deadline_exceeded")
		require.GreaterOrEqual(t, time.Since(began), 250*time.Millisecond)
	}
}

// TestStreamTimeoutCoversTheHeadOnly: once a stream has begun it may last.
func TestStreamTimeoutCoversTheHeadOnly(t *testing.T) {
	t.Parallel()
	text := strings.Replace(echoManifest, "path: /feed,            access: public, stream: sse",
		"path: /feed, access: public, stream: sse, timeout: 2s", 1)
	require.NotEqual(t, echoManifest, text)
	f, _ := withEcho(t, nil)
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, text)}, nil))
	response := f.open("/api/v1/echo/feed")
	first := make([]byte, len("data: first\n\n"))
	_, err := io.ReadFull(response.Body, first)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, response.Body); ended <- err }()
	select {
	case err := <-ended:
		require.Fail(t, "the stream ended", "%v", err)
	case <-time.After(3 * time.Second):
	}
	require.NoError(t, response.Body.Close())
	require.Error(t, <-ended)
}

// open begins a request, and returns when the head of its answer is there.
func (f *fixture) open(path string) *http.Response {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.scheme+"://"+f.addr+path, nil)
	require.NoError(f.t, err)
	response, err := f.client.Do(r)
	require.NoError(f.t, err)
	require.Equal(f.t, http.StatusOK, response.StatusCode)
	return response
}

// patience is a request for the route that answers when it is told to.
type patience struct {
	t     *testing.T
	until string
	done  chan answered
}

// wait begins such a request, and returns when the module has it.
func (f *fixture) wait() *patience {
	f.t.Helper()
	dir := f.t.TempDir()
	p := &patience{f.t, filepath.Join(dir, "until"), make(chan answered, 1)}
	query := url.Values{"began": {filepath.Join(dir, "began")}, "until": {p.until}}
	go func() { p.done <- f.get("/api/v1/echo/patient?" + query.Encode()) }()
	f.awaitFile(filepath.Join(dir, "began"))
	return p
}

func (f *fixture) awaitFile(path string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { _, err := os.Stat(path); return err == nil }, soon, time.Millisecond)
}

func (p *patience) finish() answered {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(p.until, nil, 0o600))
	return <-p.done
}

// TestDeathMidExchange: what was in the module gets 502 at once; other modules' requests do not notice.
// TestDeathWhileTheClientStalls: the client is in the middle of its body and waits; it is there, and must be told.
func TestDeathWhileTheClientStalls(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	f.registry.Put("billing", instancetest.Launch(t, instancetest.Launcher(t), "billing"))
	text := strings.ReplaceAll(strings.ReplaceAll(echoManifest, "billing", "other"), "echo", "billing")
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, echoManifest), parse(t, text)}, nil))
	answer := f.raw("POST /api/v1/billing/die HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 1000))
	answer.requireProblem(t, http.StatusBadGateway, "bad_gateway")
}

func TestDeathMidExchange(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	launcher := instancetest.Launcher(t)
	victim := instancetest.Launch(t, launcher, "billing")
	f.registry.Put("billing", victim)
	text := strings.ReplaceAll(strings.ReplaceAll(echoManifest, "billing", "other"), "echo", "billing")
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{parse(t, echoManifest), parse(t, text)}, nil))

	other := f.wait()
	f.do(http.MethodPost, "/api/v1/billing/die", nil).requireProblem(t, http.StatusBadGateway, "bad_gateway")
	<-victim.Done()
	require.Equal(t, "done\n", other.finish().body)
	// The registry still has the dead one: nothing can have been done.
	answer := f.get("/api/v1/billing/public/x")
	answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
	require.Equal(t, "1", answer.header.Get("Retry-After"))
}

func TestKillMidExchange(t *testing.T) {
	t.Parallel()
	f, inst := withEcho(t, nil)
	hit := f.wait()
	require.NoError(t, syscall.Kill(inst.PID(), syscall.SIGKILL))
	select {
	case answer := <-hit.done:
		answer.requireProblem(t, http.StatusBadGateway, "bad_gateway")
	case <-time.After(soon):
		require.Fail(t, "the request hangs")
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.HoldTimeout = 50 * time.Millisecond })
	for _, c := range []struct {
		coming bool
		retry  string
	}{{true, "1"}, {false, "30"}} {
		f.registry.Remove("echo", "restarting after signal killed", c.coming)
		answer := f.get("/api/v1/echo/public/x")
		p := answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
		require.Contains(t, p.Detail, "echo")
		require.Contains(t, p.Detail, "restarting after signal killed")
		require.Equal(t, c.retry, answer.header.Get("Retry-After"))
	}
}

// TestHold: a request that finds its module restarting waits for the new instance.
func TestHold(t *testing.T) {
	t.Parallel()
	f, inst := withEcho(t, func(d *Deps) { d.Server.HoldTimeout = 2 * soon })
	require.NoError(t, syscall.Kill(inst.PID(), syscall.SIGKILL))
	<-inst.Done()
	f.registry.Remove("echo", "restarting after signal killed", true)
	held := make(chan answered, 1)
	go func() { held <- f.get("/api/v1/echo/public/x") }()
	require.Eventually(t, func() bool { return f.registry.Waiting() == 1 }, soon, time.Millisecond)
	f.registry.Put("echo", instancetest.Launch(t, instancetest.Launcher(t), "echo"))
	require.Equal(t, "public", (<-held).seen(t).Route)
	require.Zero(t, f.registry.Waiting())
}

// TestTooManyWait: those over the bound are told at once.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, func(d *Deps) { d.Server.HoldTimeout = time.Hour })
	f.registry.Remove("echo", "restarting", true)
	for range instance.MaxWaiting - 1 {
		go func() { _ = f.registry.Await(t.Context(), "echo", time.Hour) }()
	}
	require.Eventually(t, func() bool { return f.registry.Waiting() == instance.MaxWaiting-1 }, soon, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := make(chan struct{})
	go func() {
		defer close(last)
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.addr+"/api/v1/echo/public/x", nil)
		response, err := f.client.Do(r)
		if err == nil {
			_ = response.Body.Close()
		}
	}()
	require.Eventually(t, func() bool { return f.registry.Waiting() == instance.MaxWaiting }, soon, time.Millisecond)
	answer := f.get("/api/v1/echo/public/x")
	p := answer.requireProblem(t, http.StatusServiceUnavailable, "overloaded")
	require.Contains(t, p.Detail, "1024 requests wait")
	require.Equal(t, "1", answer.header.Get("Retry-After"))
	cancel()
	<-last
	require.Eventually(t, func() bool { return f.registry.Waiting() == instance.MaxWaiting-1 }, soon, time.Millisecond)
}

// TestClientGone: the module's context ends soon after its client hung up, and nobody is answered.
func TestClientGone(t *testing.T) {
	t.Parallel()
	f, inst := withEcho(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	query := url.Values{"began": {filepath.Join(dir, "began")}, "until": {filepath.Join(dir, "until")}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.addr+"/api/v1/echo/patient?"+query.Encode(), nil)
	require.NoError(t, err)
	gone := make(chan error, 1)
	go func() { _, err := f.client.Do(r); gone <- err }()
	f.awaitFile(query.Get("began"))
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "status=499") }, soon, time.Millisecond)
	stopped := make(chan struct{})
	go func() { defer close(stopped); inst.Stop(t.Context()) }() // waits for what still runs
	select {
	case <-stopped:
	case <-time.After(soon):
		require.Fail(t, "the module still serves a client that is gone")
	}
}

// TestStalledBody: a client that stops sending is told so.
func TestStalledBody(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	answer := f.raw("POST /api/v1/echo/post HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
	answer.requireProblem(t, http.StatusRequestTimeout, "request_timeout")
}

// TestSlowHeadIsCut, and so is a TLS handshake that does not end.
func TestSlowHeadIsCut(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Deps){
		"plain": nil, "tls": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, change, hurried)
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
			_, err = io.WriteString(conn, map[string]string{"plain": "GET /livez HTTP/1.1\r\nHos", "tls": "\x16\x03"}[name])
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, conn)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server waits")
		})
	}
}

// TestPanicIsAnInternalError: it is logged, and does not end the server.
func TestPanicIsAnInternalError(t *testing.T) {
	t.Parallel()
	f := start(t, func(d *Deps) { d.Ready = func() Readiness { panic("boom") } })
	f.get("/readyz").requireProblem(t, http.StatusInternalServerError, "internal")
	require.Contains(t, f.log.String(), "boom")
	require.Contains(t, f.log.String(), "probes.go")
	require.Equal(t, http.StatusOK, f.get("/livez").status)
}

// TestLargeBodies: what goes in comes out, both ways at constant memory is http1's to prove.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	require.Equal(t, string(sent), f.do(http.MethodPost, "/api/v1/echo/upload", bytes.NewReader(sent)).seen(t).Body)
	require.Len(t, f.get("/api/v1/echo/big?"+strings.Repeat("n&", 32)).body, 32<<20)
}

// TestConcurrentRequests shakes the gateway for the race detector.
func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 50 {
				name := strconv.Itoa(worker*1000 + i)
				got := f.see("/api/v1/echo/public/"+name, "X-Request-Id: "+name)
				if got.Params[0].Value != name || got.Header.Get("X-Request-Id") != name {
					t.Errorf("request %s got the answer of %v", name, got)
				}
			}
		})
	}
	all.Wait()
}
