package daemon

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformd/platformd/core/internal/supervisor"
)

// metrics are the daemon's own; the gateway adds those of requests to the same registry.
type metrics struct {
	registry *prometheus.Registry
	state    *prometheus.GaugeVec
	restarts *prometheus.CounterVec

	mu   sync.Mutex
	seen map[string]int // restarts counted so far, by module
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		registry: registry,
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "platformd_module_state", Help: "1 for the state that the module is in, 0 for the others.",
		}, []string{"module", "state"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_module_restarts_total", Help: "Relaunches of the module since the core started.",
		}, []string{"module"}),
		seen: make(map[string]int),
	}
	registry.MustRegister(m.state, m.restarts)
	return m
}

// moduleChanged follows the supervisor.
func (m *metrics) moduleChanged(status supervisor.Status) {
	for _, state := range supervisor.States() {
		value := 0.0
		if state == status.State {
			value = 1
		}
		m.state.WithLabelValues(status.Name, string(state)).Set(value)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts.WithLabelValues(status.Name).Add(float64(status.Restarts - m.seen[status.Name]))
	m.seen[status.Name] = status.Restarts
}

// forget drops what is shown of a module that is not run any more; its restarts, which only grow, stay.
func (m *metrics) forget(module string) {
	m.state.DeletePartialMatch(prometheus.Labels{"module": module})
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, module)
}
