package calls

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/platformd/platformd/core/internal/passthrough"
)

const (
	// maxTries bounds how often one call is sent.
	maxTries = 8
	// noticeEnd is how long after a broken connection the end of its process is expected: a killed process closes its sockets
	// a moment before it can be waited for, and on a busy machine that moment is long.
	noticeEnd = time.Second
	// firstPause is how long before a call is sent again to a process that lives; it doubles.
	firstPause = 5 * time.Millisecond
)

// broken decides about a call whose attempt broke before anything of the answer came.
func (e *exchange) broken(tried any, why passthrough.Break) passthrough.Next {
	a, ok := tried.(*attempt)
	if !ok {
		return passthrough.Next{Code: codes.Internal, Message: "internal error"}
	}
	a.release()
	e.pair.places.ReleasePermit()
	if why.Over {
		return passthrough.Next{Later: true}
	}
	if !e.repeatable(why) {
		return e.giveUp(why, a.to)
	}
	e.later(func(ctx context.Context) passthrough.Next { return e.again(ctx, why, a.to) })
	return passthrough.Next{Later: true}
}

// repeatable tells whether another attempt can do no harm: the callee has not begun, or says that it does not mind.
func (e *exchange) repeatable(why passthrough.Break) bool {
	return why.Kept && (why.Unprocessed || why.Lost && e.kind.Idempotent)
}

// again makes another attempt, once it makes sense; k is the instance in which the last one broke, if it is known. The budget is
// for the load of a process that lives: the next one has had none yet, nor has one that the call never came to.
func (e *exchange) again(ctx context.Context, why passthrough.Break, k *callee) passthrough.Next {
	if e.tries++; e.tries >= maxTries {
		return e.giveUp(why, k)
	}
	if k != nil {
		e.pauseFor(ctx, why, k)
	}
	if err := ctx.Err(); err != nil {
		return e.unavailable(err)
	}
	reached := !why.Lost || !why.Unprocessed
	if reached && k != nil && k.alive() && !e.pair.budget.spend() {
		return e.giveUp(why, k)
	}
	e.pair.retries.Add(1)
	e.pair.metrics.retries.Inc()
	return e.search(ctx)
}

// pauseFor waits for the process to end that broke its connection, or for a moment if it lives.
func (e *exchange) pauseFor(ctx context.Context, why passthrough.Break, k *callee) {
	pause := firstPause << min(e.tries, maxTries)
	if why.Lost {
		pause = noticeEnd
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-k.inst.Done():
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	e.blame(k)
}

// blame notes that an attempt broke in a process that lives. That of one that has ended is the supervisor's business.
func (e *exchange) blame(k *callee) {
	if k != nil && k.alive() {
		e.failed.Store(true)
		k.judge(ill)
	}
}

// giveUp tells the caller what is known of the last attempt.
func (e *exchange) giveUp(why passthrough.Break, k *callee) passthrough.Next {
	if !why.Busy {
		e.blame(k)
	}
	message := fmt.Sprintf("module %s: %s", e.module, why)
	switch {
	case why.Lost && !why.Unprocessed && !e.kind.Idempotent:
		message += "; whether the call was carried out is not known (fix: give the method the option idempotency_level = " +
			"IDEMPOTENT, if it is)"
	case why.Lost && !why.Kept:
		message += fmt.Sprintf("; the request is over %d KiB and cannot be sent again", passthrough.Keep>>10)
	}
	code := why.Code()
	if code == codes.Canceled && e.late() { // that was the cause: servers reset what takes too long
		code = codes.DeadlineExceeded
	}
	return passthrough.Next{Code: code, Message: message}
}

// late tells whether the call's time is over, or as good as.
func (e *exchange) late() bool { return !e.deadline.IsZero() && time.Until(e.deadline) < grace/10 }
