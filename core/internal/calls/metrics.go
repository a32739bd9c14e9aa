package calls

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

type metrics struct {
	ended      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	inProgress *prometheus.GaugeVec
	retries    *prometheus.CounterVec
	denied     *prometheus.CounterVec
	suspended  *prometheus.GaugeVec
}

// newMetrics registers nothing if registry is nil.
func newMetrics(registry prometheus.Registerer) *metrics {
	between := []string{"caller", "callee"}
	m := &metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_module_calls_total", Help: "Calls between modules that have ended, by gRPC status.",
		}, append(between, "code")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "platformd_module_call_seconds", Help: "How long calls between modules took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, between),
		inProgress: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "platformd_module_calls_in_progress", Help: "Calls between modules that are in progress.",
		}, between),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_module_call_retries_total", Help: "Calls between modules that were sent again.",
		}, between),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_module_calls_denied_total", Help: "Calls of a module that were not allowed.",
		}, []string{"caller"}),
		suspended: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "platformd_module_calls_suspended", Help: "1 while the circuit breaker between two modules is not closed.",
		}, between),
	}
	if registry != nil {
		registry.MustRegister(m.ended, m.seconds, m.inProgress, m.retries, m.denied, m.suspended)
	}
	return m
}

// pairMetrics are those of one pair, looked up once.
type pairMetrics struct {
	codes      [codes.Unauthenticated + 1]prometheus.Counter
	seconds    prometheus.Observer
	inProgress prometheus.Gauge
	retries    prometheus.Counter
	open       prometheus.Gauge
}

func (m *metrics) pair(key pairKey) *pairMetrics {
	p := &pairMetrics{
		seconds: m.seconds.WithLabelValues(key.caller, key.callee), inProgress: m.inProgress.WithLabelValues(key.caller, key.callee),
		retries: m.retries.WithLabelValues(key.caller, key.callee), open: m.suspended.WithLabelValues(key.caller, key.callee),
	}
	for code := range p.codes {
		p.codes[code] = m.ended.WithLabelValues(key.caller, key.callee, codes.Code(code).String()) //nolint:gosec // below 17
	}
	return p
}

func (p *pairMetrics) ended(code codes.Code, took time.Duration) {
	if int(code) < len(p.codes) {
		p.codes[code].Inc()
	}
	p.seconds.Observe(took.Seconds())
}

func (p *pairMetrics) suspended(yes bool) {
	p.open.Set(0)
	if yes {
		p.open.Set(1)
	}
}
