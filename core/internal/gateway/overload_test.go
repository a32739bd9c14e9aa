package gateway

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// launchLimited launches the module once, which has so many requests in progress at most.
func launchLimited(concurrency int) func(testing.TB, *instance.Launcher, string) *instance.Instance {
	return func(t testing.TB, launcher *instance.Launcher, module string) *instance.Instance {
		t.Helper()
		spec := instancetest.Spec(t, module)
		spec.Concurrency = concurrency
		inst, err := launcher.Launch(t.Context(), spec)
		require.NoError(t, err)
		t.Cleanup(inst.Kill)
		_, err = inst.Describe(t.Context())
		require.NoError(t, err)
		require.NoError(t, inst.Init(t.Context(), &modulev1.InitRequest{Name: module, Version: "1.0.0"}))
		return inst
	}
}

// TestBulkhead: who is one too many is told at once, and nobody else is.
func TestBulkhead(t *testing.T) {
	t.Parallel()
	a := newAccident(t, launchLimited(2), nil)
	query := "?notes=" + a.notes
	done := make(chan answered, 4)
	for range 2 {
		go func() { done <- a.send(a.request(http.MethodGet, "/thing"+query, nil)) }()
	}
	require.Eventually(t, func() bool { return len(a.notesOf()) == 2 }, soon, time.Millisecond)
	// Soon after a start a request waits for a place; then it is told at once. Either way nothing reaches the module.
	require.Eventually(t, func() bool {
		began := time.Now()
		answer := a.send(a.request(http.MethodGet, "/thing"+query, nil))
		p := answer.requireProblem(t, http.StatusServiceUnavailable, "overloaded")
		require.Equal(t, "1", answer.header.Get("Retry-After"))
		require.Contains(t, p.Detail, "2 requests in progress")
		require.Contains(t, p.Detail, "runtime.concurrency")
		return time.Since(began) < 50*time.Millisecond
	}, soon, time.Millisecond)
	require.Len(t, a.notesOf(), 2)
	require.Regexp(t, `platformd_http_requests_shed_total{limit="runtime.concurrency",module="once"} [1-9]`, a.get("/metrics").body)

	go func() { done <- a.send(a.request(http.MethodGet, "/feed"+query, nil)) }()
	require.Eventually(t, func() bool { return len(a.notesOf()) == 3 }, soon, time.Millisecond, "a stream takes no place")
	require.NoError(t, os.WriteFile(a.notes+".until", nil, 0o600))
	for range 3 {
		require.Equal(t, http.StatusOK, (<-done).status)
	}
	require.Equal(t, http.StatusOK, a.send(a.request(http.MethodGet, "/thing"+query, nil)).status)
}

// TestHeldRequestsGetPlaces: those that a restart has held are more than there are places, and none of them is shed.
func TestHeldRequestsGetPlaces(t *testing.T) {
	t.Parallel()
	a := newAccident(t, launchLimited(2), nil)
	a.kill()
	const clients = 100
	done := make(chan answered, clients)
	for range clients {
		go func() { done <- a.send(a.request(http.MethodPost, "/thing?notes="+a.notes, nil)) }()
	}
	require.Eventually(t, func() bool { return a.registry.Waiting() == clients }, soon, time.Millisecond)
	a.relaunch()
	for range clients {
		answer := <-done
		require.Equal(t, http.StatusOK, answer.status, answer.body)
	}
	require.Len(t, a.notesOf(), clients)
}

// TestNeeds: a route waits for what it needs as for its own module, and says what it lacks.
func TestNeeds(t *testing.T) {
	t.Parallel()
	f, inst := withEcho(t, func(d *Deps) { d.Server.HoldTimeout = 2 * soon })
	answer := f.get("/api/v1/echo/needy")
	p := answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
	require.Contains(t, p.Detail, "echo needs billing")
	require.Contains(t, p.Detail, "not installed")
	f.registry.Put("billing", inst) // any live instance makes it ready
	require.Equal(t, "needy", f.see("/api/v1/echo/needy").Route)
	f.registry.Remove("billing", "crash loop", false)
	answer = f.get("/api/v1/echo/needy")
	p = answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
	require.Equal(t, "module echo needs billing: module billing is not ready: crash loop", p.Detail)
	require.Equal(t, "30", answer.header.Get("Retry-After"))

	f.registry.Remove("billing", "restarting", true)
	held := make(chan answered, 1)
	go func() { held <- f.get("/api/v1/echo/needy") }()
	require.Eventually(t, func() bool { return f.registry.Waiting() == 1 }, soon, time.Millisecond)
	f.registry.Put("billing", inst)
	require.Equal(t, "needy", (<-held).seen(t).Route, "it waits for what it needs as for its own module")

	f.registry.Remove("billing", "restarting", true)
	go func() { held <- f.get("/api/v1/echo/needy") }()
	require.Eventually(t, func() bool { return f.registry.Waiting() == 1 }, soon, time.Millisecond)
	f.registry.Remove("billing", "its start failed", false)
	(<-held).requireProblem(t, http.StatusServiceUnavailable, "unavailable")
}

// TestDegraded: a ready module says what of it is not served, and so does the refused request.
func TestDegraded(t *testing.T) {
	t.Parallel()
	states := []ModuleState{{Name: "billing", State: "starting"}, {Name: "echo", State: "ready"}}
	f, inst := withEcho(t, func(d *Deps) {
		d.Ready = func() Readiness { return Readiness{Ready: true, Modules: states} }
		d.Server.HoldTimeout = time.Millisecond
	})
	const chain = "module echo needs billing: module billing is not ready: it is starting"
	f.registry.Remove("billing", "it is starting", true)
	require.Equal(t, "ready\nbilling  starting\necho     ready, degraded  "+chain+" (routes: needy)\n",
		f.get("/readyz?verbose").body)
	require.JSONEq(t, `{"ready":true,"modules":[{"name":"billing","state":"starting","required":false},
		{"name":"echo","state":"ready","required":false,"degraded":["`+chain+` (routes: needy)"]}]}`,
		f.get("/readyz?verbose", "Accept: application/json").body)
	require.Equal(t, chain, f.get("/api/v1/echo/needy").requireProblem(t, http.StatusServiceUnavailable, "unavailable").Detail)
	require.Equal(t, "root", f.see("/api/v1/echo").Route, "the rest of it serves")
	f.registry.Put("billing", inst)
	require.NotContains(t, f.get("/readyz?verbose").body, "degraded")
	require.Empty(t, states[1].Degraded, "what the daemon gave is its own")
}

// TestStreamsMoveOn: a stream that has not begun when its instance is stopped begins at another one.
func TestStreamsMoveOn(t *testing.T) {
	t.Parallel()
	a := newAccident(t, transports()["link"], nil)
	done := make(chan answered, 1)
	go func() { done <- a.send(a.request(http.MethodGet, "/feed?notes="+a.notes, nil)) }()
	require.Eventually(t, func() bool { return len(a.notesOf()) == 1 }, soon, time.Millisecond)
	stopped := a.victim
	a.registry.Put("once", a.launch(t, a.with, "once"))
	a.registry.Withdraw("once", stopped, "it is replaced", true)
	ended := make(chan struct{})
	go func() { defer close(ended); stopped.Stop(t.Context()) }()
	require.Eventually(t, func() bool { return len(a.notesOf()) == 2 }, soon, time.Millisecond)
	require.NoError(t, os.WriteFile(a.notes+".until", nil, 0o600))
	require.Equal(t, http.StatusOK, (<-done).status)
	<-ended
}
