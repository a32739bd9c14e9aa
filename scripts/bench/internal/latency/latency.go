// Package latency counts what clients of a load saw, and how long it took.
//
// It must not know what they did.
package latency

import (
	"cmp"
	"slices"
	"time"
)

// Sample is what one generator saw in one run.
type Sample struct {
	Requests int           `json:"requests"` // answered completely
	Elapsed  time.Duration `json:"elapsed_ns"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Errors   int           `json:"errors"`
	Problem  string        `json:"problem,omitempty"` // what went wrong, if something did
}

// PerSecond is the rate of answered requests.
func (s Sample) PerSecond() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Requests) / s.Elapsed.Seconds()
}

// Tally is what one client counted. It is not safe for concurrent use.
type Tally struct {
	latencies []time.Duration
	errors    int
	problem   string // the last error
}

// Add counts an answer.
func (t *Tally) Add(latency time.Duration) { t.latencies = append(t.latencies, latency) }

// Fail counts an error.
func (t *Tally) Fail(err error) { t.errors, t.problem = t.errors+1, err.Error() }

// Summarize adds up what all clients counted in a time.
func Summarize(tallies []Tally, elapsed time.Duration) Sample {
	var latencies []time.Duration
	sample := Sample{Elapsed: elapsed}
	for _, t := range tallies {
		latencies = append(latencies, t.latencies...)
		sample.Errors, sample.Problem = sample.Errors+t.errors, cmp.Or(sample.Problem, t.problem)
	}
	slices.Sort(latencies)
	sample.Requests = len(latencies)
	if n := len(latencies); n > 0 {
		sample.P50, sample.P99 = latencies[n/2], latencies[n*99/100]
	}
	return sample
}
