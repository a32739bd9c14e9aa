package conformance

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/http1"
	"github.com/platformd/platformd/plugin-api/link/internal/linktest"
)

// stages are how far a handler gets.
func stages() map[string]http.HandlerFunc {
	large := strings.Repeat("platform", 20<<10)
	return map[string]http.HandlerFunc{
		"before the head":    func(http.ResponseWriter, *http.Request) {},
		"behind a hint":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) },
		"behind the head":    writes(""),
		"in the body":        writes("some", ""),
		"in a large body":    writes(large, ""),
		"in a known body":    with("x", "Content-Length", "10"),
		"with a small rest":  writes("not seen"),
		"behind half a load": func(_ http.ResponseWriter, r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, 1000) },
	}
}

// stuck serves a module whose handler goes as far as stage says and then waits for its context to end.
func stuck(t *testing.T, on transport, stage http.HandlerFunc) (*linktest.Rig, server, <-chan struct{}) {
	t.Helper()
	arrived := make(chan struct{}, 100)
	rig := on.rig(t)
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		stage(w, r)
		arrived <- struct{}{}
		if r.ContentLength > 32<<10 || r.ContentLength < 0 {
			_, _ = io.Copy(io.Discard, r.Body) // who leaves a large body unread hears of nothing
		}
		<-r.Context().Done()
		linktest.Tick(100 * time.Millisecond) // for the core's own deadline to pass
		panic(http.ErrAbortHandler)
	})})
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	rig.Front.Start()
	rig.Front.Client().Timeout = linktest.Patience
	return rig, server, arrived
}

// bodies are what a request may carry.
func bodies() map[string]string {
	return map[string]string{"nothing": "", "little": "hello", "much": strings.Repeat("x", 100<<10)}
}

func atEveryStage(t *testing.T, test func(t *testing.T, on transport, stage http.HandlerFunc, body string)) {
	for where, stage := range stages() {
		for what, body := range bodies() {
			t.Run(what+" "+where, func(t *testing.T) {
				each(t, func(t *testing.T, on transport) { test(t, on, stage, body) })
			})
		}
	}
}

// A module that ends takes its exchanges with it: none hangs, none looks complete.
func TestModuleDiesAtEveryStage(t *testing.T) {
	atEveryStage(t, func(t *testing.T, on transport, stage http.HandlerFunc, body string) {
		rig, server, arrived := stuck(t, on, stage)
		result := make(chan view, 1)
		go func() { result <- viewOf(rig, http.MethodPost, strings.NewReader(body)) }()
		<-arrived
		require.NoError(t, server.Close())
		require.Equal(t, broken(), <-result)
		for _, err := range rig.Results() {
			var failed *link.ExchangeError
			require.ErrorAs(t, err, &failed)
			require.True(t, failed.Reached)
			require.NotErrorIs(t, err, link.ErrRequestBody, "it was not the client's fault")
		}
	})
}

// Time is up: 504 while nothing has been written, else a cut connection.
func TestDeadlineOfTheCallAtEveryStage(t *testing.T) {
	atEveryStage(t, func(t *testing.T, on transport, stage http.HandlerFunc, body string) {
		rig, _, arrived := stuck(t, on, stage)
		rig.Call = func(*http.Request) *link.Call {
			return &link.Call{Route: "r", Path: "/", Principal: link.Anonymous(), Timeout: 200 * time.Millisecond}
		}
		got := viewOf(rig, http.MethodPost, strings.NewReader(body))
		<-arrived
		if got.Status != http.StatusGatewayTimeout {
			require.Equal(t, broken(), got)
			require.ErrorIs(t, rig.Abort(), context.DeadlineExceeded)
			return
		}
		require.ErrorIs(t, rig.Result(), context.DeadlineExceeded)
	})
}

func TestCoreGivesUpAtEveryStage(t *testing.T) {
	atEveryStage(t, func(t *testing.T, on transport, stage http.HandlerFunc, body string) {
		drain := make(chan context.CancelFunc, 1)
		rig, server, arrived := stuck(t, on, stage)
		rig.Wrap = linktest.WithCancel(drain)
		result := make(chan view, 1)
		go func() { result <- viewOf(rig, http.MethodPost, strings.NewReader(body)) }()
		<-arrived
		(<-drain)()
		require.Equal(t, broken(), <-result)
		ctx, cancel := context.WithTimeout(t.Context(), linktest.Patience)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx), "the handler has heard of it")
	})
}

func TestClosingTheClient(t *testing.T) { each(t, closingTheClient) }

func closingTheClient(t *testing.T, on transport) {
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	large := strings.Repeat("platform", 200<<10)
	rig := on.module(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/flushed" {
			_ = http.NewResponseController(w).Flush()
		}
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, large)
	})
	rig.Front.Client().Timeout = linktest.Patience
	rig.Call = func(r *http.Request) *link.Call {
		return &link.Call{Route: "r", Path: r.Header.Get("X-Path"), Principal: link.Anonymous()}
	}
	var exchanges sync.WaitGroup
	for i := range 8 {
		body, path := strings.Repeat("x", i%4*20<<10), []string{"/", "/flushed"}[i/4]
		exchanges.Go(func() {
			got := viewOf(rig, http.MethodPost, strings.NewReader(body), func(r *http.Request) { r.Header.Set("X-Path", path) })
			if got.Status != broken().Status && got.Body != large {
				t.Error("a body that is cut looks complete")
			}
		})
	}
	for range 8 {
		<-arrived
	}
	rig.Client.Close()
	close(release)
	exchanges.Wait()
	before := len(rig.Results())
	for _, body := range bodies() {
		res, _ := rig.Do(http.MethodPost, "/", strings.NewReader(body), func(r *http.Request) { r.Header.Set("X-Path", "/") })
		require.Equal(t, http.StatusBadGateway, res.StatusCode)
	}
	for _, err := range rig.Results()[before:] {
		var failed *link.ExchangeError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, failed, link.ErrClosed)
		require.False(t, failed.Reached)
	}
}

func TestShutdownRefusesWhatIsNew(t *testing.T) { each(t, shutdownRefusesWhatIsNew) }

func shutdownRefusesWhatIsNew(t *testing.T, on transport) {
	release := make(chan struct{})
	rig, server, answer := waiting(t, on, release)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(t.Context()) }()
	refused := func() bool {
		before := len(rig.Results())
		rig.Do(http.MethodGet, "/", nil)
		var failed *link.ExchangeError
		return errors.As(rig.Results()[before], &failed) && !failed.Reached
	}
	require.Eventually(t, refused, linktest.Patience, time.Millisecond)
	for range 10 {
		require.True(t, refused(), "and nothing else from then on")
	}
	close(release)
	require.Equal(t, "finished", <-answer)
	require.NoError(t, <-stopped)
}

// What a handler began before the end, it may end, however much it is.
func TestShutdownWaitsForLargeAnswers(t *testing.T) { each(t, shutdownWaitsForLargeAnswers) }

func shutdownWaitsForLargeAnswers(t *testing.T, on transport) {
	const exchanges = 4
	arrived, release := make(chan struct{}, exchanges), make(chan struct{})
	large := strings.Repeat("platform", 200<<10)
	rig := on.rig(t)
	server := on.serve(rig.Listener, http1.ServerConfig{Secret: linktest.Secret(), Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request,
	) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, large[:100])
		_, _ = io.WriteString(w, large[100:])
	})})
	defer server.Close()
	rig.Front.Start()
	results := make(chan view, exchanges)
	for range exchanges {
		go func() { results <- viewOf(rig, http.MethodGet, nil) }()
	}
	for range exchanges {
		<-arrived
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(t.Context()) }()
	require.Eventually(t, func() bool { return !reachable(rig.Socket) }, linktest.Patience, time.Millisecond)
	close(release)
	for range exchanges {
		require.Equal(t, large, (<-results).Body)
	}
	require.NoError(t, <-stopped)
}

// What a handler has left running hears that the exchange is over.
func TestContextEndsWithTheHandler(t *testing.T) { each(t, contextEndsWithTheHandler) }

func contextEndsWithTheHandler(t *testing.T, on transport) {
	contexts := make(chan context.Context, 1)
	rig := on.module(t, func(_ http.ResponseWriter, r *http.Request) { contexts <- r.Context() })
	rig.Do(http.MethodGet, "/", nil)
	<-(<-contexts).Done()
}
