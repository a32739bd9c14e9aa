package supervisor

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBudgetThenGrowingDelays(t *testing.T) {
	t.Parallel()
	p := policy{budget: Budget{Max: 3, Window: time.Minute}}
	clock := time.Unix(0, 0)
	crash := func() (time.Duration, State) { clock = clock.Add(time.Second); return p.next(clock, time.Second, 0) }
	for range 3 {
		delay, state := crash()
		require.Zero(t, delay)
		require.Equal(t, Starting, state)
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		delay, state := crash()
		require.Equal(t, want*time.Second, delay)
		require.Equal(t, CrashLoop, state)
	}
}

func TestAStableRunForgives(t *testing.T) {
	t.Parallel()
	p := policy{budget: Budget{Max: 1, Window: time.Hour}}
	clock := time.Unix(0, 0)
	_, state := p.next(clock, 0, 0)
	require.Equal(t, Starting, state)
	_, state = p.next(clock, stableAfter-time.Nanosecond, 0)
	require.Equal(t, CrashLoop, state)
	delay, state := p.next(clock, stableAfter, 0)
	require.Equal(t, Starting, state)
	require.Zero(t, delay)
}

func TestCrashesOutsideTheWindowDoNotCount(t *testing.T) {
	t.Parallel()
	p := policy{budget: Budget{Max: 2, Window: time.Minute}}
	clock := time.Unix(0, 0)
	for range 100 {
		clock = clock.Add(31 * time.Second) // never three within a minute
		_, state := p.next(clock, time.Second, 0)
		require.Equal(t, Starting, state)
	}
}

// TestPolicyHoldsOverRandomSchedules checks, against a naive count over the whole history, that an immediate relaunch is
// granted exactly within the budget, and that delays stay in their bounds.
func TestPolicyHoldsOverRandomSchedules(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		budget := Budget{Max: 1 + random.IntN(5), Window: time.Duration(1+random.IntN(120)) * time.Second}
		p := policy{budget: budget}
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
			delay, state := p.next(clock, uptime, random.Float64())
			if recent <= budget.Max {
				require.Equal(t, Starting, state)
				require.Zero(t, delay)
				continue
			}
			require.Equal(t, CrashLoop, state)
			require.GreaterOrEqual(t, delay, firstBackoff/2)
			require.LessOrEqual(t, delay, maxBackoff)
		}
	}
}
