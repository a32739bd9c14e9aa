package gateway

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestProbes(t *testing.T) {
	t.Parallel()
	var state atomic.Pointer[Readiness]
	state.Store(&Readiness{Ready: false, Modules: []ModuleState{
		{Name: "billing", State: "ready"}, {Name: "blog", State: "crash_loop", Reason: "exit 7, 6 times in 10m", Required: true},
	}})
	f := start(t, func(d *Deps) { d.Ready = func() Readiness { return *state.Load() } })
	require.Equal(t, answered{status: 200, body: "ok\n"}, bare(f.get("/livez")))
	require.Equal(t, answered{status: 503, body: "not ready\n"}, bare(f.get("/readyz")))
	require.Equal(t, answered{status: 503, body: "not ready\nbilling          ready\n" +
		"blog (required)  crash_loop  exit 7, 6 times in 10m\n"}, bare(f.get("/readyz?verbose")))
	require.JSONEq(t, `{"ready":false}`, f.get("/readyz", "Accept: application/json").body)
	verbose := f.get("/readyz?verbose", "Accept: application/json")
	require.Equal(t, "application/json", verbose.header.Get("Content-Type"))
	require.Equal(t, "no-store", verbose.header.Get("Cache-Control"))
	require.JSONEq(t, `{"ready":false,"modules":[{"name":"billing","state":"ready","required":false},
		{"name":"blog","state":"crash_loop","reason":"exit 7, 6 times in 10m","required":true}]}`, verbose.body)
	state.Store(&Readiness{Ready: true})
	require.Equal(t, answered{status: 200, body: "ready\n"}, bare(f.get("/readyz")))
	require.Equal(t, http.StatusOK, f.do(http.MethodHead, "/readyz", nil).status)
	post := f.do(http.MethodPost, "/livez", nil)
	post.requireProblem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	require.Equal(t, "GET, HEAD", post.header.Get("Allow"))
	f.get("/").requireProblem(t, http.StatusNotFound, "not_found")
}

func bare(a answered) answered { return answered{status: a.status, body: a.body} }

func TestMetrics(t *testing.T) {
	t.Parallel()
	others := prometheus.NewGauge(prometheus.GaugeOpts{Name: "platformd_of_others", Help: "Not the gateway's."})
	f, _ := withEcho(t, func(d *Deps) { d.Metrics.MustRegister(others) })
	f.get("/api/v1/echo/public/x")
	f.get("/api/v1/echo/public/y")
	f.get("/api/v1/echo/secret")
	f.get("/api/v1/echo/nosuch")
	f.do(http.MethodDelete, "/api/v1/echo/secret", nil)
	f.do("BREW", "/api/v1/echo/%2f", nil)
	page := f.get("/metrics").body
	for _, line := range []string{
		`platformd_http_requests_total{code="200",method="GET",module="echo",route="public"} 2`,
		`platformd_http_requests_total{code="401",method="GET",module="echo",route="secret"} 1`,
		`platformd_http_requests_total{code="404",method="GET",module="",route=""} 1`,
		`platformd_http_requests_total{code="400",method="other",module="",route=""} 1`,
		`platformd_http_requests_total{code="405",method="DELETE",module="",route=""} 1`,
		`platformd_http_request_duration_seconds_count{module="echo",route="public"} 2`,
		`platformd_of_others 0`, `go_goroutines `,
	} {
		require.Contains(t, page, line)
	}
	require.Contains(t, f.get("/metrics").body, `method="GET",module="core",route="metrics"} 1`)
}

// TestMetricsAreRegisteredOnce: two gateways on one registry would count for each other.
func TestMetricsAreRegisteredOnce(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	_, err := newMetrics(registry)
	require.NoError(t, err)
	_, err = newMetrics(registry)
	require.Error(t, err)
}
