package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

const gib = 1 << 30

// zeros is an endless body.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// transports are what a module's HTTP exchanges can travel on, and the EVIL_MODE that makes them.
var transports = map[string]string{"link": "", "http/1.1": "http1"}

func startWith(t *testing.T, transport string, modules ...string) *platform {
	t.Helper()
	p := start(t, options{modules: modules, env: []string{"EVIL_MODE=" + transports[transport]}})
	require.Equal(t, transport, p.module("evil").Instances[0].Transport)
	return p
}

// TestGigabyteBothWays moves 1 GiB each way and watches the memory of both processes.
func TestGigabyteBothWays(t *testing.T) {
	t.Parallel()
	for transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			gigabyteBothWays(t, transport)
		})
	}
}

func gigabyteBothWays(t *testing.T, transport string) {
	p := startWith(t, transport, "evil")
	module := p.pid("evil")
	core, plug := rss(t, p.cmd.Process.Pid), rss(t, module)
	growth := p.watch(module, func() {
		p.upload(gib)
		p.download(gib)
	})
	t.Logf("core %d + %d KiB, module %d + %d KiB", core>>10, growth[0]>>10, plug>>10, growth[1]>>10)
	require.Less(t, growth[0], int64(32<<20), "growth of the core's memory")
	require.Less(t, growth[1], int64(32<<20), "growth of the module's memory")
}

// watch runs work and returns by how much the resident memory of core and module grew at most meanwhile.
func (p *platform) watch(module int, work func()) (growth [2]int64) {
	pids := [2]int{p.cmd.Process.Pid, module}
	base := [2]int64{rss(p.t, pids[0]), rss(p.t, pids[1])}
	done := make(chan struct{})
	go func() { defer close(done); work() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for i, pid := range pids {
			growth[i] = max(growth[i], rss(p.t, pid)-base[i])
		}
		select {
		case <-done:
			return growth
		case <-tick.C:
		}
	}
}

func (p *platform) upload(n int64) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.url+"/api/v1/evil/echo",
		io.LimitReader(zeros{}, n))
	require.NoError(p.t, err)
	req.ContentLength = n
	res, err := http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(p.t, err)
	require.Contains(p.t, string(body), `"bytes":`+strconv.FormatInt(n, 10))
}

func (p *platform) download(n int64) {
	address := p.url + "/api/v1/evil/download?bytes=" + strconv.FormatInt(n, 10)
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	require.NoError(p.t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(p.t, err)
	defer func() { _ = res.Body.Close() }()
	got, err := io.Copy(io.Discard, res.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, n, got)
}

// TestEveryKindOfExchange runs each once through the whole platform; the transports' own suites go deeper.
func TestEveryKindOfExchange(t *testing.T) {
	t.Parallel()
	for transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			everyKindOfExchange(t, startWith(t, transport, "evil", "hello"))
		})
	}
}

func everyKindOfExchange(t *testing.T, p *platform) {
	for name, exchange := range map[string]func(*testing.T, *platform){
		"upload": uploadIsWhole, "body limit": bodyLimit, "timeout": routeTimeout, "params": paramsAreDecoded,
		"dependency": dependencyIsKnown, "server-sent events": eventsArriveOneByOne, "websocket": webSocketEchoes,
		"trailers": trailersBothWays,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exchange(t, p)
		})
	}
}

func uploadIsWhole(t *testing.T, p *platform) {
	body := strings.Repeat("platformd ", 1<<20)
	sum := sha256.Sum256([]byte(body))
	require.Contains(t, p.do(http.MethodPost, "/api/v1/evil/echo", "", body).body, hex.EncodeToString(sum[:]))
}

func bodyLimit(t *testing.T, p *platform) {
	fits, tooLarge := strings.Repeat("x", 16<<10), strings.Repeat("x", 16<<10+1)
	require.Equal(t, http.StatusOK, p.do(http.MethodPost, "/api/v1/evil/small", "", fits).status)
	require.Equal(t, http.StatusRequestEntityTooLarge, p.do(http.MethodPost, "/api/v1/evil/small", "", tooLarge).status)
}

func routeTimeout(t *testing.T, p *platform) {
	require.Equal(t, http.StatusGatewayTimeout, p.do(http.MethodGet, "/api/v1/evil/wait", "", "").status)
}

func paramsAreDecoded(t *testing.T, p *platform) {
	var seen struct{ Path, One, Rest string }
	p.do(http.MethodGet, "/api/v1/evil/request/a%20b/c/d", "", "").decode(t, &seen)
	require.Equal(t, "a b", seen.One)
	require.Equal(t, "c/d", seen.Rest)
	require.Equal(t, "/request/a b/c/d", seen.Path)
}

func dependencyIsKnown(t *testing.T, p *platform) {
	require.Contains(t, p.do(http.MethodGet, "/api/v1/evil/dependencies/hello", "", "").body, `"Ready":true`)
	require.Equal(t, http.StatusForbidden, p.do(http.MethodGet, "/api/v1/evil/dependencies/blog", "", "").status)
}

func eventsArriveOneByOne(t *testing.T, p *platform) {
	lines := bufio.NewScanner(p.open(t, "/api/v1/evil/events").Body)
	for event := 1; event <= 10; event++ {
		for _, want := range []string{"id: " + strconv.Itoa(event), "data: tick", ""} {
			require.True(t, lines.Scan())
			require.Equal(t, want, lines.Text())
		}
	}
}

func webSocketEchoes(t *testing.T, p *platform) {
	conn, res, err := websocket.Dial(t.Context(), p.url+"/api/v1/evil/socket", nil)
	require.NoError(t, err)
	if res.Body != nil {
		defer func() { _ = res.Body.Close() }()
	}
	for _, message := range []string{"one", strings.Repeat("x", 30_000)} {
		require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(message)))
		_, got, err := conn.Read(t.Context())
		require.NoError(t, err)
		require.Equal(t, message, string(got))
	}
	require.NoError(t, conn.Close(websocket.StatusNormalClosure, ""))
}

func (p *platform) open(t *testing.T, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func trailersBothWays(t *testing.T, p *platform) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/api/v1/evil/trailers",
		io.MultiReader(strings.NewReader("body"))) // of unknown length: chunked
	require.NoError(t, err)
	req.Trailer = http.Header{"From-Client": []string{"yes"}}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, `trailer was "yes"`, string(body))
	sum := sha256.Sum256([]byte("body"))
	require.Equal(t, hex.EncodeToString(sum[:]), res.Trailer.Get("Checksum"))
}

// TestClientGone leaves in the middle of a request: the module's context must end at once.
func TestClientGone(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"evil"}})
	for i, method := range []string{http.MethodGet, http.MethodPost} {
		ctx, leave := context.WithTimeout(t.Context(), 300*time.Millisecond)
		req, err := http.NewRequestWithContext(ctx, method, p.url+"/api/v1/evil/wait", strings.NewReader("unread"))
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		leave()
		// Both routes' own timeouts are far away: 2 s and 60 s.
		require.Eventually(t, func() bool {
			return strings.TrimSpace(p.do(http.MethodGet, "/api/v1/evil/canceled", "", "").body) == strconv.Itoa(i+1)
		}, 1500*time.Millisecond, 5*time.Millisecond)
	}
}
