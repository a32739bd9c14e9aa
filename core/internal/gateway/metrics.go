package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/platformd/platformd/core/internal/instance"
)

// metrics counts requests by module and route id; both are empty where no route was found.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	shed     *prometheus.CounterVec
	repeated *prometheus.CounterVec
	page     http.Handler
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_http_requests_total",
			Help: "HTTP requests that were answered, by module, route id, method and status code.",
		}, []string{"module", "route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "platformd_http_request_duration_seconds",
			Help: "Time from a request's head to the end of its answer, by module and route id.",
		}, []string{"module", "route"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_http_connections_refused_total",
			Help: "Connections of clients that were refused, by the key of the limit in config.yaml.",
		}, []string{"limit"}),
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_http_requests_shed_total",
			Help: "HTTP requests that were answered with 503 because a module had too many, by that module and the limit.",
		}, []string{"module", "limit"}),
		repeated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_http_requests_repeated_total",
			Help: "Times that a request was sent to a module again, because the instance that had it broke, by module.",
		}, []string{"module"}),
		page: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	return m, errors.Join(
		registry.Register(m.requests),
		registry.Register(m.duration),
		registry.Register(m.refused),
		registry.Register(m.shed),
		registry.Register(m.repeated),
		registry.Register(collectors.NewGoCollector()),
		registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
}

// countConnections shows how many connections there are.
func (m *metrics) countConnections(registry *prometheus.Registry, c *census) error {
	return registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "platformd_http_connections",
		Help: "Connections of clients, upgraded ones included.",
	}, func() float64 { return float64(c.count()) }))
}

// countHeld shows how many requests wait for a module.
func (m *metrics) countHeld(registry *prometheus.Registry, instances *instance.Registry) error {
	return registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "platformd_http_requests_held",
		Help: "HTTP requests that wait for a module to come back, or for a place in one that has just come.",
	}, func() float64 { return float64(instances.Waiting()) }))
}

func (m *metrics) observe(a *answer, r *http.Request) {
	m.requests.WithLabelValues(a.module, a.route, methodLabel(r.Method), strconv.Itoa(a.status)).Inc()
	m.duration.WithLabelValues(a.module, a.route).Observe(time.Since(a.began).Seconds())
}

// methodLabel keeps clients from making up label values.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions:
		return method
	}
	return "other"
}
