package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
)

// TestWhatRunsAgain is the decision itself, case by case.
func TestWhatRunsAgain(t *testing.T) {
	t.Parallel()
	base := failure{method: "GET", tries: 1, reached: true, cause: causeBroken}
	with := func(change func(*failure)) failure { f := base; change(&f); return f }
	for _, c := range []struct {
		name string
		f    failure
		want bool
	}{
		{"GET", base, true},
		{"HEAD", with(func(f *failure) { f.method = "HEAD" }), true},
		{"OPTIONS", with(func(f *failure) { f.method = "OPTIONS" }), true},
		{"PUT", with(func(f *failure) { f.method = "PUT" }), true},
		{"DELETE", with(func(f *failure) { f.method = "DELETE" }), true},
		{"POST", with(func(f *failure) { f.method = "POST" }), false},
		{"PATCH", with(func(f *failure) { f.method = "PATCH" }), false},
		{"keyed POST", with(func(f *failure) { f.method, f.keyed = "POST", true }), true},
		{"keyed PATCH", with(func(f *failure) { f.method, f.keyed = "PATCH", true }), true},
		{"POST that was not reached", with(func(f *failure) { f.method, f.reached = "POST", false }), true},
		{"upgrade", with(func(f *failure) { f.upgrade = true }), false},
		{"upgrade that was not reached", with(func(f *failure) { f.upgrade, f.reached = true, false }), true},
		{"whole body", with(func(f *failure) { f.method, f.body = "PUT", bodyWhole }), true},
		{"lost body", with(func(f *failure) { f.method, f.body = "PUT", bodyLost }), false},
		{"body that was to be read", with(func(f *failure) { f.method, f.body = "PUT", bodyUntouched }), false},
		{"untouched body", with(func(f *failure) { f.body, f.reached = bodyUntouched, false }), true},
		{"lost body that was not reached", with(func(f *failure) { f.body, f.reached = bodyLost, false }), false},
		{"second try", with(func(f *failure) { f.tries = 2 }), true},
		{"last try", with(func(f *failure) { f.tries = maxTries }), false},
		{"last try, not reached", with(func(f *failure) { f.tries, f.reached = maxTries, false }), false},
		{"the client's fault", with(func(f *failure) { f.cause = causeOther }), false},
		{"the request's fault", with(func(f *failure) { f.cause, f.reached = causeOther, false }), false},
		{"stream of an instance that stops", with(func(f *failure) { f.cause = causeDrained }), true},
		{"upgrade at an instance that stops", with(func(f *failure) { f.cause, f.upgrade = causeDrained, true }), false},
	} {
		require.Equal(t, c.want, c.f.repeatable(), c.name)
	}
}

func TestWhoseFault(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name     string
		ctx      context.Context
		err      error
		draining bool
		want     cause
	}{
		{"end of the connection", nil, io.ErrUnexpectedEOF, false, causeBroken},
		{"reset", nil, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, false, causeBroken},
		{"refused", nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, false, causeBroken},
		{"broken pipe", nil, syscall.EPIPE, false, causeBroken},
		{"stopped instance", nil, link.ErrClosed, true, causeBroken},
		{"garbage", nil, errors.New("the module's answer is not valid HTTP"), false, causeOther},
		{"body", nil, fmt.Errorf("%w: %w", link.ErrRequestBody, io.ErrUnexpectedEOF), false, causeOther},
		{"client gone", over, io.ErrUnexpectedEOF, false, causeOther},
		{"late", nil, context.DeadlineExceeded, false, causeOther},
		{"late, and cut", nil, fmt.Errorf("%w (%w)", context.DeadlineExceeded, net.ErrClosed), false, causeOther},
		{"stream that is ended", nil, context.Canceled, true, causeDrained},
		{"cancelled", nil, context.Canceled, false, causeOther},
	} {
		if c.ctx == nil {
			c.ctx = t.Context()
		}
		require.Equal(t, c.want, causeOf(c.ctx, &link.ExchangeError{Err: fmt.Errorf("send: %w", c.err)}, c.draining), c.name)
	}
}

// replayed is a request whose instance is killed.
type replayed struct {
	method, path, body, key string
	again                   bool // it is answered by the next one
}

func replays() []replayed {
	kilobytes := func(n int) string { return strings.Repeat("0123456789abcde\n", n<<6) }
	return []replayed{
		{method: "GET", path: "/thing", again: true},
		{method: "HEAD", path: "/thing", again: true},
		{method: "OPTIONS", path: "/thing", again: true},
		{method: "DELETE", path: "/thing", again: true},
		{method: "PUT", path: "/thing", again: true},
		{method: "PUT", path: "/thing", body: "little", again: true},
		{method: "PUT", path: "/thing", body: kilobytes(33), again: true},
		{method: "PUT", path: "/thing", body: kilobytes(64), again: true},
		{method: "PUT", path: "/thing", body: kilobytes(64) + "x"},
		{method: "PUT", path: "/thing?part", body: kilobytes(64), again: true}, // of which the module has read a part
		{method: "PUT", path: "/thing?part", body: kilobytes(512)},
		{method: "POST", path: "/thing", body: "little"},
		{method: "POST", path: "/thing", body: "little", key: "k1"},
		{method: "PATCH", path: "/thing", key: "k1"},
		{method: "POST", path: "/keyed", body: "little"},
		{method: "POST", path: "/keyed", body: "little", key: "k1", again: true},
		{method: "PATCH", path: "/keyed", key: "k1", again: true},
		{method: "GET", path: "/feed", again: true},
	}
}

// TestReplay kills the process that has a request, on every way a request can take.
func TestReplay(t *testing.T) {
	t.Parallel()
	for _, c := range replays() {
		for transport, launch := range transports() {
			for version, change := range map[string]func(*Deps){
				"1.1": nil, "2": func(d *Deps) { d.Server.TLS = newPair(t, "one").files },
			} {
				if version == "2" && (c.body == "" || transport != "link") {
					continue // nothing differs but how a body comes
				}
				name := fmt.Sprint(c.method, c.path, len(c.body), c.key, " ", transport, " HTTP/", version)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					c.test(newAccident(t, launch, change))
				})
			}
		}
	}
}

func (c replayed) test(a *accident) {
	r := a.request(c.method, c.path, nil)
	if c.body != "" {
		r = a.request(c.method, c.path, strings.NewReader(c.body))
	}
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	answer := a.suffer(r)
	notes := a.notesOf()
	if !c.again {
		answer.requireProblem(a.t, http.StatusBadGateway, "bad_gateway")
		require.Len(a.t, notes, 1, "it must not run twice")
		return
	}
	require.Equal(a.t, http.StatusOK, answer.status, answer.body)
	require.Len(a.t, notes, 2)
	require.Equal(a.t, notes[0].SHA256, notes[1].SHA256)
	if !strings.Contains(c.path, "part") {
		sum := sha256.Sum256([]byte(c.body))
		require.Equal(a.t, hex.EncodeToString(sum[:]), notes[1].SHA256)
	}
	require.Equal(a.t, answer.header.Get("X-Request-Id"), notes[1].RequestID)
	require.Equal(a.t, notes[0].RequestID, notes[1].RequestID)
	require.LessOrEqual(a.t, notes[1].Left, notes[0].Left, "the time does not begin again")
}

// TestReplayWithTrailers: a body of unknown length is kept too, once it has come whole.
func TestReplayWithTrailers(t *testing.T) {
	t.Parallel()
	for transport, launch := range transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			a := newAccident(t, launch, nil)
			r := a.request(http.MethodPut, "/thing", io.MultiReader(strings.NewReader("of unknown length")))
			r.Trailer = http.Header{"Mark": {"end"}}
			require.Equal(t, http.StatusOK, a.suffer(r).status)
			notes := a.notesOf()
			require.Len(t, notes, 2)
			require.Equal(t, notes[0].SHA256, notes[1].SHA256)
			require.EqualValues(t, len("of unknown length"), notes[1].Length)
			require.Equal(t, "end", notes[1].Trailer)
		})
	}
}

// TestUpgradeIsNotRepeated: who asked for another protocol asks again himself.
func TestUpgradeIsNotRepeated(t *testing.T) {
	t.Parallel()
	a := newAccident(t, transports()["link"], nil)
	r := a.request(http.MethodGet, "/socket", nil)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		r.Header.Set(name, value)
	}
	a.suffer(r).requireProblem(t, http.StatusBadGateway, "bad_gateway")
	require.Len(t, a.notesOf(), 1)
}

// TestAKillerIsStopped: a request that ends whatever it reaches ends three processes, not all that come.
func TestAKillerIsStopped(t *testing.T) {
	t.Parallel()
	a := newAccident(t, transports()["link"], nil)
	done := make(chan answered, 1)
	go func() { done <- a.send(a.request(http.MethodGet, "/thing?notes="+a.notes, nil)) }()
	for tries := range maxTries {
		require.Eventually(t, func() bool { return len(a.notesOf()) == tries+1 }, soon, time.Millisecond)
		a.kill()
		a.victim = a.launch(t, a.with, "once")
		a.registry.Put("once", a.victim)
	}
	(<-done).requireProblem(t, http.StatusBadGateway, "bad_gateway")
	require.Len(t, a.notesOf(), maxTries)
	require.Contains(t, a.get("/metrics").body, `platformd_http_requests_repeated_total{module="once"} 2`)
}

// TestALivingModuleIsNotAskedTwice: it has cut the connection, which is an answer.
func TestALivingModuleIsNotAskedTwice(t *testing.T) {
	t.Parallel()
	for transport, launch := range transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			a := newAccident(t, launch, nil)
			a.send(a.request(http.MethodGet, "/cut?notes="+a.notes, nil)).requireProblem(t, http.StatusBadGateway, "bad_gateway")
			require.Len(t, a.notesOf(), 1)
		})
	}
}

// TestReplayElsewhere: with another instance at hand nobody waits for the next one.
func TestReplayElsewhere(t *testing.T) {
	t.Parallel()
	a := newAccident(t, transports()["link"], nil)
	query := "?notes=" + a.notes
	done := make(chan answered, 1)
	go func() { done <- a.send(a.request(http.MethodGet, "/thing"+query, nil)) }()
	require.Eventually(t, func() bool { return len(a.notesOf()) == 1 }, soon, time.Millisecond)
	other := a.launch(t, a.with, "once")
	a.registry.Put("once", other)
	require.NoError(t, syscall.Kill(a.victim.PID(), syscall.SIGKILL)) // and nobody tells the registry
	require.Eventually(t, func() bool { return len(a.notesOf()) == 2 }, soon, time.Millisecond)
	a.relaunch()
	require.Equal(t, http.StatusOK, (<-done).status)
	require.Equal(t, 1, strings.Count(a.get("/metrics").body, `platformd_http_requests_repeated_total{module="once"} 1`))
}

// TestKilledWhileQueued: what waits for a module waits on when the next one dies too, whatever its method.
func TestKilledWhileQueued(t *testing.T) {
	t.Parallel()
	a := newAccident(t, transports()["link"], nil)
	a.kill()
	done := make(chan answered, 1)
	go func() { done <- a.send(a.request(http.MethodPost, "/thing?notes="+a.notes, strings.NewReader("body"))) }()
	require.Eventually(t, func() bool { return a.registry.Waiting() == 1 }, soon, time.Millisecond)
	a.registry.Withdraw("once", a.victim, "it is restarting again", true)
	a.relaunch()
	require.Equal(t, http.StatusOK, (<-done).status)
	require.Len(t, a.notesOf(), 1)
}

// TestCrashUnderLoad: killed again and again, the module fails none of many clients.
func TestCrashUnderLoad(t *testing.T) {
	t.Parallel()
	for transport, launch := range transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			a := newAccident(t, launch, nil)
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						r, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+a.addr+"/api/v1/once/thing?notes="+a.notes,
							strings.NewReader("body"))
						if answer := a.send(r); answer.status != http.StatusOK {
							t.Error(answer.status, answer.body)
							return
						}
					}
				})
			}
			for range 5 {
				a.relaunch()
				served := len(a.notesOf())
				require.Eventually(t, func() bool { return len(a.notesOf()) > served+50 }, 2*soon, 5*time.Millisecond)
				a.kill()
			}
			a.relaunch()
			close(stop)
			clients.Wait()
		})
	}
}
