package latency

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPerSecond(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 500, Sample{Requests: 1000, Elapsed: 2 * time.Second}.PerSecond(), 1e-9)
	require.Zero(t, Sample{}.PerSecond())
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	tallies := make([]Tally, 2)
	for i := range 100 {
		tallies[i%2].Add(time.Duration(i+1) * time.Millisecond)
	}
	tallies[1].Fail(errors.New("no"))
	require.Equal(t, Sample{
		Requests: 100, Elapsed: time.Second, P50: 51 * time.Millisecond, P99: 100 * time.Millisecond, Errors: 1, Problem: "no",
	}, Summarize(tallies, time.Second))
	require.Equal(t, Sample{Elapsed: time.Second}, Summarize(nil, time.Second))
}
