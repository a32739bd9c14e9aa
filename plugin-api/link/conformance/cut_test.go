package conformance

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// maxCuts bounds the points of one exchange at which it is cut; where there are more, each run of the tests takes others.
const maxCuts = 60

// proxy stands between the two halves and closes a connection in the middle.
type proxy struct {
	ln     net.Listener
	target string
	ended  sync.WaitGroup

	mu    sync.Mutex
	left  [2]int // what may still pass to the module, and to the core; then the connection is closed
	moved [2]int
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	p := &proxy{ln: linktest.Listen(t, linktest.SocketPath(t)), target: target}
	p.ended.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.ended.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { _ = p.ln.Close(); p.ended.Wait() })
	return p
}

// allow lets so many bytes pass from here on.
func (p *proxy) allow(toModule, toCore int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.moved = [2]int{toModule, toCore}, [2]int{}
}

func (p *proxy) passed() [2]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved
}

func (p *proxy) serve(core net.Conn) {
	defer core.Close()
	module, err := net.Dial("unix", p.target)
	if err != nil {
		return
	}
	defer module.Close()
	var back sync.WaitGroup
	back.Go(func() { p.pass(core, module, 1) })
	p.pass(module, core, 0)
	back.Wait()
}

// pass copies until src ends, or the last byte that may pass has passed.
func (p *proxy) pass(dst, src net.Conn, direction int) {
	buf := make([]byte, 64<<10)
	for p.take(0, direction) {
		n, err := src.Read(buf)
		n, more := p.room(n, direction)
		if _, failed := dst.Write(buf[:n]); failed != nil || !more {
			break
		}
		if err != nil {
			_ = linktest.HalfClose(dst)
			return
		}
	}
	_, _ = dst.Close(), src.Close()
}

func (p *proxy) take(n, direction int) (more bool) {
	_, more = p.room(n, direction)
	return more
}

// room returns how many of n bytes may pass, and whether more may.
func (p *proxy) room(n, direction int) (allowed int, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	allowed = min(n, p.left[direction])
	p.left[direction] -= allowed
	p.moved[direction] += allowed
	return allowed, p.left[direction] > 0
}

// kind is an exchange that is cut.
type kind struct {
	method  string
	body    func() io.Reader
	handler http.HandlerFunc
}

func kinds() map[string]kind {
	large := strings.Repeat("platform", 20<<10)
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	unknown := func(s string) func() io.Reader {
		return func() io.Reader { return io.MultiReader(strings.NewReader(s)) }
	}
	none := func() io.Reader { return nil }
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body)
	}
	return map[string]kind{
		"small":              {http.MethodGet, none, writes("hello")},
		"small, with a body": {http.MethodPost, text("hello"), echo},
		"empty":              {http.MethodDelete, none, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
		"events":             {http.MethodGet, none, writes("", "one\n", "", "two\n", "", "three\n")},
		"of known length":    {http.MethodGet, none, with("hello", "Content-Length", "5")},
		"large":              {http.MethodGet, none, writes(large)},
		"large, known":       {http.MethodGet, none, with(large, "Content-Length", fmt.Sprint(len(large)))},
		"large, flushed":     {http.MethodGet, none, writes("small", "", large, "", large)},
		"hints":              {http.MethodGet, none, hints(2, 20)},
		"trailers": {http.MethodGet, none, func(w http.ResponseWriter, r *http.Request) {
			writes("x", "")(w, r)
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		}},
		"large, trailers": {http.MethodGet, none, func(w http.ResponseWriter, r *http.Request) {
			writes(large)(w, r)
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		}},
		"upload":          {http.MethodPut, text(large), echo},
		"upload, chunked": {http.MethodPut, unknown(large), echo},
	}
}

// TestCutAtEveryByte: wherever the connection breaks, the client sees a whole answer, an error, or a cut connection.
func TestCutAtEveryByte(t *testing.T) {
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) { each(t, kind.cut) })
	}
}

func (k kind) cut(t *testing.T, on transport) {
	var running sync.WaitGroup
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		k.handler(w, r)
	})
	rig.Front.Client().Timeout = linktest.Patience
	p := newProxy(t, rig.Socket)
	direct := rig.Client
	defer func() { rig.Client = direct }()
	exchange := func(toModule, toCore int) view {
		p.allow(toModule, toCore)
		rig.Client = on.client(http1.ClientConfig{Socket: p.ln.Addr().String(), Secret: linktest.Secret(), OnAbort: rig.Aborted})
		defer rig.Client.Close()
		began := time.Now()
		got := viewOf(rig, k.method, k.body())
		require.Less(t, time.Since(began), linktest.Patience/2, "it hangs")
		return got
	}
	const all = 1 << 30
	whole := exchange(all, all)
	require.NotEqual(t, broken(), whole)
	total := p.passed()
	failures := 0
	for direction := range total {
		step := total[direction]/maxCuts + 1
		for n := rand.IntN(step); n < total[direction]; n += step {
			limits := [2]int{all, all}
			limits[direction] = n
			got := exchange(limits[0], limits[1])
			if got.Status == broken().Status {
				failures++
				continue
			}
			require.Equal(t, whole, got, "cut after %d of %d bytes in direction %d", n, total[direction], direction)
		}
	}
	require.NotZero(t, failures)
	running.Wait()
}
