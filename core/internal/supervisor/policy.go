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

// policy decides what follows a crash. It reads no clock: the time is handed in.
type policy struct {
	budget  Budget
	random  func() float64 // in [0, 1)
	crashes []time.Time    // within the window, oldest first
	over    int            // crashes in a row beyond the budget
}

// next records a crash at now, of a process that had been ready for uptime (0 if it never was), and returns how long to
// wait before the relaunch: not at all within the budget. Beyond it, over counts.
func (p *policy) next(now time.Time, uptime time.Duration) time.Duration {
	if uptime >= stableAfter {
		p.forgive()
	}
	p.forget(now.Add(-p.budget.Window))
	p.crashes = append(p.crashes, now)
	if len(p.crashes) <= p.budget.Max {
		p.over = 0
		return 0
	}
	p.crashes = p.crashes[1:] // the budget's worth is all that can matter later
	p.over++
	return backoff(p.over-1, p.random())
}

func (p *policy) forgive() { p.crashes, p.over = nil, 0 }

func (p *policy) forget(before time.Time) {
	for len(p.crashes) > 0 && p.crashes[0].Before(before) {
		p.crashes = p.crashes[1:]
	}
}

// backoff doubles from firstBackoff to maxBackoff; jitter in [0, 1) takes off up to half, so that modules that fell together
// do not rise together.
func backoff(attempt int, jitter float64) time.Duration {
	delay := maxBackoff
	if attempt < 5 {
		delay = min(firstBackoff<<attempt, maxBackoff)
	}
	return delay - time.Duration(jitter*float64(delay)/2)
}
