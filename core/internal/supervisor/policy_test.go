package supervisor

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// never is randomness that takes nothing off.
func never() float64 { return 0 }

func TestBudgetThenGrowingDelays(t *testing.T) {
	t.Parallel()
	p := policy{budget: Budget{Max: 3, Window: time.Minute}, random: never}
	clock := time.Unix(0, 0)
	crash := func() time.Duration { clock = clock.Add(time.Second); return p.next(clock, time.Second) }
	for range 3 {
		require.Zero(t, crash())
		require.Zero(t, p.over)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		require.Equal(t, want*time.Second, crash())
		require.Equal(t, i+1, p.over)
	}
}

func TestAStableRunForgives(t *testing.T) {
	t.Parallel()
	p := policy{budget: Budget{Max: 1, Window: time.Hour}, random: never}
	clock := time.Unix(0, 0)
	require.Zero(t, p.next(clock, 0))
	require.NotZero(t, p.next(clock, stableAfter-time.Nanosecond))
	require.Zero(t, p.next(clock, stableAfter))
	require.Zero(t, p.over)
}

func TestCrashesOutsideTheWindowDoNotCount(t *testing.T) {
	t.Parallel()
	p := policy{budget: Budget{Max: 2, Window: time.Minute}, random: never}
	clock := time.Unix(0, 0)
	for range 100 {
		clock = clock.Add(31 * time.Second) // never three within a minute
		require.Zero(t, p.next(clock, time.Second))
	}
}

// TestPolicyHoldsOverRandomSchedules checks, against a naive count over the whole history, that an immediate relaunch is
// granted exactly within the budget, and that delays stay in their bounds.
func TestPolicyHoldsOverRandomSchedules(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		budget := Budget{Max: 1 + random.IntN(5), Window: time.Duration(1+random.IntN(120)) * time.Second}
		p := policy{budget: budget, random: random.Float64}
		clock := time.Unix(0, 0)
		var history []time.Time
		for range 50 {
			clock = clock.Add(time.Duration(random.Int64N(int64(budget.Window))))
			uptime := time.Duration(random.Int64N(int64(40 * time.Second)))
			if uptime >= stableAfter {
				history = nil
			}
			history = append(history, clock)
			recent := 0
			for _, at := range history {
				if !at.Before(clock.Add(-budget.Window)) {
					recent++
				}
			}
			delay := p.next(clock, uptime)
			if recent <= budget.Max {
				require.Zero(t, delay)
				continue
			}
			require.GreaterOrEqual(t, delay, firstBackoff/2)
			require.LessOrEqual(t, delay, maxBackoff)
		}
	}
}
