package bridge

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	handled *prometheus.CounterVec
	dead    *prometheus.CounterVec
	relayed *prometheus.CounterVec
}

// newMetrics registers nothing if registry is nil.
func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_events_handled_total",
			Help: "Attempts to handle an event, by subscription and what became of the delivery.",
		}, []string{"subscription", "verdict"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_events_dead_total",
			Help: "Deliveries that became dead letters, by subscription and reason.",
		}, []string{"subscription", "reason"}),
		relayed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "platformd_events_relayed_total",
			Help: "Events that left a module's outbox, by module and whether anybody wanted them.",
		}, []string{"module", "outcome"}),
	}
	if registry != nil {
		registry.MustRegister(m.handled, m.dead, m.relayed)
	}
	return m
}
