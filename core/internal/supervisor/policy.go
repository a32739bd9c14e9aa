package supervisor

import "time"

const (
	stableAfter  = 30 * time.Second // ready for so long: earlier crashes are forgiven
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
)

// Budget is how many crashes within a window are answered by an immediate relaunch.
type Budget struct {
	Max    int
	Window time.Duration
}

// policy decides what follows a crash. It reads no clock and no randomness: both are handed in.
type policy struct {
	budget  Budget
	crashes []time.Time // within the window, oldest first
	over    int         // crashes in a row beyond the budget
}

// next records a crash at now, of a process that had been ready for uptime (0 if it never was), and returns how long to
// wait before the relaunch. jitter is in [0, 1). The state is Starting within the budget, CrashLoop beyond it.
func (p *policy) next(now time.Time, uptime time.Duration, jitter float64) (time.Duration, State) {
	if uptime >= stableAfter {
		p.crashes, p.over = nil, 0
	}
	p.forget(now.Add(-p.budget.Window))
	p.crashes = append(p.crashes, now)
	if len(p.crashes) <= p.budget.Max {
		p.over = 0
		return 0, Starting
	}
	p.crashes = p.crashes[1:] // the budget's worth is all that can matter later
	delay := backoff(p.over, jitter)
	p.over++
	return delay, CrashLoop
}

func (p *policy) forget(before time.Time) {
	for len(p.crashes) > 0 && p.crashes[0].Before(before) {
		p.crashes = p.crashes[1:]
	}
}

// backoff doubles from firstBackoff to maxBackoff; jitter takes off up to half, so that modules that fell together do not
// rise together.
func backoff(attempt int, jitter float64) time.Duration {
	delay := maxBackoff
	if attempt < 5 {
		delay = min(firstBackoff<<attempt, maxBackoff)
	}
	return delay - time.Duration(jitter*float64(delay)/2)
}
