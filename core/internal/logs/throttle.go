package logs

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
)

const (
	// throttleRate and throttleBurst bound what one module logs, in bytes a second and bytes at once: far beyond what anybody
	// reads, far below what would keep the core busy.
	throttleRate  = 512 << 10
	throttleBurst = 1 << 20
	// flowRate bounds what is read of one module's output at all, in bytes a second after a burst of throttleBurst: only to
	// throw away what a module can print in a second would keep the core busy. A module that prints more waits.
	flowRate = 16 << 20
	// recordCost is what a record costs beside its text, however short that is.
	recordCost = 256
	// dropPause is the time between two records that say how much was dropped.
	dropPause = time.Second
)

// Throttle bounds what one module logs, over all of its streams. What is beyond is dropped and counted; a record a second says
// how much. Far beyond, the module is held back. It is safe for concurrent use.
type Throttle struct {
	limit *rate.Limiter // of what is logged
	flow  *rate.Limiter // of what is read
	now   func() time.Time

	mu       sync.Mutex
	lines    int // dropped, and not said yet
	bytes    int
	total    int
	reported time.Time
}

// NewThrottle returns a throttle for one module.
func NewThrottle() *Throttle {
	return &Throttle{
		limit: rate.NewLimiter(throttleRate, throttleBurst), flow: rate.NewLimiter(flowRate, throttleBurst), now: time.Now,
	}
}

// Dropped is how many lines have been dropped so far.
func (t *Throttle) Dropped() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// admit tells whether a line may be logged, after it has said on log what had to be dropped before.
func (t *Throttle) admit(log hclog.Logger, line []byte) bool {
	now := t.now()
	admitted := t.limit.AllowN(now, len(line)+recordCost)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !admitted {
		t.lines++
		t.total++
		t.bytes += len(line)
	}
	if t.lines > 0 && (admitted || now.Sub(t.reported) >= dropPause) {
		t.report(log, now)
	}
	return admitted
}

// holdBack waits until as much as n bytes more may be read: not at all, for a module that is no flood.
func (t *Throttle) holdBack(n int) {
	delay := t.flow.ReserveN(t.now(), min(n, throttleBurst)).Delay()
	if delay <= 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	<-timer.C
}

// flush says what was dropped last.
func (t *Throttle) flush(log hclog.Logger) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines > 0 {
		t.report(log, t.now())
	}
}

func (t *Throttle) report(log hclog.Logger, now time.Time) {
	log.Warn("the module logs more than is kept; lines were dropped", "lines", t.lines, "bytes", t.bytes,
		"fix", "have the module log less, or at a higher level")
	t.lines, t.bytes, t.reported = 0, 0, now
}
