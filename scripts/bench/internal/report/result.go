// Package report turns what was measured into medians, ratios, a table, JSON, and the page docs/benchmarks.md with its plot.
//
// It must not measure: it gets everything as one Result, and could draw the page again from the JSON.
package report

import (
	"slices"
	"time"
)

// Result is one run of the benchmark.
type Result struct {
	Command   string         `json:"command"`
	Date      string         `json:"date"`
	Machine   Machine        `json:"machine"`
	Versions  []Version      `json:"versions"`
	Settings  Settings       `json:"settings"`
	Scenarios []Scenario     `json:"scenarios"`
	Note      string         `json:"note,omitempty"`      // what is missing, and why
	Footprint *Footprint     `json:"footprint,omitempty"` // nil if platformd did not take part
	About     []Introduction `json:"contestants"`
}

// Settings are what two runs must share to be comparable.
type Settings struct {
	Rounds   int    `json:"rounds"`
	Duration string `json:"duration"`
	Warmup   string `json:"warmup"`
	Seed     uint64 `json:"seed"`
}

// Version is a program or a library that took part.
type Version struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Introduction says what a contestant is.
type Introduction struct {
	Name string `json:"name"`
	What string `json:"what"`
}

// Scenario holds the contestants of one scenario.
type Scenario struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Events int    `json:"events_per_request,omitempty"`
	// Baseline says for people what the rows are compared with.
	Baseline string `json:"baseline"`
	Rows     []Row  `json:"rows"`
}

// Row is one contestant in one scenario. Its numbers are medians of the rounds; errors are their sum. Without rounds the
// contestant cannot do what the scenario asks.
type Row struct {
	Contestant string `json:"contestant"`
	// Against is the contestant of the row that this one is compared with.
	Against string  `json:"against"`
	Rounds  []Round `json:"rounds"`
	// PerSecond is in requests, EventsPerSecond in server-sent events.
	PerSecond       float64 `json:"requests_per_second"`
	EventsPerSecond float64 `json:"events_per_second,omitempty"`
	P50Micros       float64 `json:"p50_us"`
	P99Micros       float64 `json:"p99_us"`
	// CPUMicros is what all processes of the contestant used per request.
	CPUMicros float64 `json:"cpu_us_per_request"`
	Errors    int     `json:"errors"`
	// Ratio is PerSecond divided by that of Against; nil if one of the two was not measured.
	Ratio *float64 `json:"ratio,omitempty"`
}

// Round is one measurement.
type Round struct {
	PerSecond float64 `json:"requests_per_second"`
	P50Micros float64 `json:"p50_us"`
	P99Micros float64 `json:"p99_us"`
	CPUMicros float64 `json:"cpu_us_per_request"`
	Errors    int     `json:"errors"`
}

// Footprint is what platformd costs while nothing happens.
type Footprint struct {
	StartMillis     []int64 `json:"start_ms"` // of the module bench: process to ready, one per launch
	StartMedian     int64   `json:"start_median_ms"`
	IdleModuleBytes int64   `json:"idle_module_rss_bytes"`
	IdleCoreBytes   int64   `json:"idle_core_rss_bytes"`
	ThousandBytes   int64   `json:"rss_bytes_per_1000_idle_connections"`
}

// Measured reports whether the contestant took part.
func (r *Row) Measured() bool { return len(r.Rounds) > 0 }

// Summarize computes everything that follows from the rounds.
func (r *Result) Summarize() {
	for i := range r.Scenarios {
		r.Scenarios[i].summarize()
	}
	if r.Footprint != nil {
		r.Footprint.StartMedian = median(r.Footprint.StartMillis)
	}
}

func (s *Scenario) summarize() {
	for i := range s.Rows {
		s.Rows[i].summarize(s.Events)
	}
	for i := range s.Rows {
		row := &s.Rows[i]
		base := s.perSecond(row.Against)
		if row.Ratio = nil; base > 0 && row.Measured() {
			ratio := row.PerSecond / base
			row.Ratio = &ratio
		}
	}
}

// perSecond is a contestant's rate, 0 if it was not measured.
func (s *Scenario) perSecond(contestant string) float64 {
	for i := range s.Rows {
		if s.Rows[i].Contestant == contestant {
			return s.Rows[i].PerSecond
		}
	}
	return 0
}

func (r *Row) summarize(events int) {
	of := func(pick func(Round) float64) float64 {
		var values []float64
		for _, round := range r.Rounds {
			values = append(values, pick(round))
		}
		return median(values)
	}
	r.PerSecond = of(func(round Round) float64 { return round.PerSecond })
	r.P50Micros = of(func(round Round) float64 { return round.P50Micros })
	r.P99Micros = of(func(round Round) float64 { return round.P99Micros })
	r.CPUMicros = of(func(round Round) float64 { return round.CPUMicros })
	r.EventsPerSecond = r.PerSecond * float64(events)
	r.Errors = 0
	for _, round := range r.Rounds {
		r.Errors += round.Errors
	}
}

// median is the middle value, or the mean of the two; 0 of nothing.
func median[T int64 | float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// Micros converts a duration for a Round.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
