package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// full tells that the guarantees are to be proved at their full counts, as `make soak` does.
func full() bool { return os.Getenv("PLATFORMD_SOAK") == "full" }

// count is how often something is done: seldom in every run of the tests, often in a soak.
func count(quick, soak int) int {
	if full() {
		return soak
	}
	return quick
}

// bound is what a duration must keep to. Other tests use the machine in every run, so there only what hangs is found.
func bound(promise time.Duration) time.Duration {
	if full() {
		return promise
	}
	return promise + 5*time.Second
}

// figures collect durations and print them.
type figures []time.Duration

func (f figures) percentile(n int) time.Duration {
	sorted := slices.Sorted(slices.Values(f))
	return sorted[min(len(sorted)*n/100, len(sorted)-1)]
}

// String implements fmt.Stringer.
func (f figures) String() string {
	if len(f) == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s", f.percentile(50).Round(time.Millisecond), f.percentile(99).Round(time.Millisecond),
		slices.Max(f).Round(time.Millisecond))
}

// proof is one line of the table that `make soak` prints: what was done for a guarantee, and how often.
type proof struct {
	guarantee, what string
	times           int
}

// report adds the proof to the table when the test has ended, with whether it holds, and the figures that say returns.
func report(t *testing.T, p proof, say func() string) {
	t.Helper()
	t.Cleanup(func() {
		verdict, text := "holding", ""
		if t.Failed() {
			verdict = "FAILED"
		}
		if say != nil {
			text = say()
		}
		t.Logf("%s: %s × %d: %s %s", p.guarantee, p.what, p.times, verdict, text)
		path := os.Getenv("PLATFORMD_SOAK_REPORT")
		if path == "" {
			return
		}
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = fmt.Fprintln(file, strings.Join([]string{p.guarantee, p.what, fmt.Sprint(p.times), verdict, text}, "\t"))
		require.NoError(t, err)
		require.NoError(t, file.Close())
	})
}
