package bridge

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// A delivery is tried again after about firstPause, then after twice as long each time, up to lastPause.
	firstPause = 500 * time.Millisecond
	lastPause  = 10 * time.Minute
	// busPause is the longest between two tries of something that the bus did not do.
	busPause = 15 * time.Second
)

// pauses makes the times between tries, with some randomness, so that not all come at once.
func pauses(longest time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = firstPause, 2, longest
	b.Reset()
	return b
}

// pauseAfter is how long a delivery waits after so many attempts.
func pauseAfter(attempts int) (pause time.Duration) {
	p := pauses(lastPause)
	for range min(attempts, 64) {
		pause = p.NextBackOff()
	}
	return pause
}

// retry waits between tries of what the bus must do, and logs the first failure of a row.
type retry struct {
	bridge *Bridge
	pauses *backoff.ExponentialBackOff
	failed bool
}

func (b *Bridge) newRetry() *retry { return &retry{bridge: b, pauses: pauses(busPause)} }

// well is called when something was done: the next failure is the first of another row.
func (r *retry) well() {
	r.pauses.Reset()
	r.failed = false
}

// wait is called after a try; it returns false if ctx has ended. After one that went well it does not wait long.
func (r *retry) wait(ctx context.Context, what string, err error) (goOn bool) {
	switch {
	case err == nil:
		r.well()
	case !r.failed:
		r.bridge.Log.Error("the event bus did not do what it should; it is tried again", "what", what, "error", err)
		r.failed = true
	}
	return pause(ctx, r.pauses.NextBackOff())
}

// pause returns false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
