package calls

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/contracts"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/passthrough"
)

// exchange is one call on its way. What read and judge found does not change; of the rest, only one goroutine at a time decides
// about the call.
type exchange struct {
	caller *caller
	call   *passthrough.Call
	pair   *pair

	service, module      string
	modules, tickets     int
	shown, forged, trace string
	ticket               *auth.Ticket // nil: the module calls of its own accord
	behalf               string       // whose, as wire.MetadataPrincipal has it
	timeout              time.Duration
	timeoutText          string

	kind     contracts.Method
	known    bool        // kind is
	endless  bool        // the call has no time
	deadline time.Time   // of a call that is not endless
	tries    int         // that broke
	failed   atomic.Bool // an attempt broke though its process lives
}

// begin is the usual case: an instance is there, and nothing has to be waited for.
func (e *exchange) begin() passthrough.Next {
	kind, known := e.deps().Method(e.module, e.call.Path)
	if known {
		if refused := e.settle(kind); refused != nil {
			return passthrough.Next{Code: refused.code, Message: refused.message}
		}
		if next, ok := e.sendAtOnce(); ok {
			return next
		}
	}
	e.later(func(ctx context.Context) passthrough.Next { return e.search(ctx) })
	return passthrough.Next{Later: true}
}

// sendAtOnce reports false if there is something to wait for.
func (e *exchange) sendAtOnce() (passthrough.Next, bool) {
	if !e.pair.places.TryAcquirePermit() {
		return e.pair.full(), true
	}
	inst, err := e.acquire(context.Background(), 0)
	if err == nil {
		if k := e.caller.calls.callee(inst); k != nil {
			if client := k.current(); client != nil {
				return e.send(k, client), true
			}
		}
		e.release(inst)
	}
	e.pair.places.ReleasePermit()
	return passthrough.Next{}, false
}

func (e *exchange) deps() *Deps { return &e.caller.calls.deps }

// settle fixes what depends on the kind of the method. Streams may be without end, a call with one answer may not.
func (e *exchange) settle(kind contracts.Method) *refusal {
	if refused := e.fits(); refused != nil {
		return refused
	}
	e.kind, e.known = kind, true
	if !kind.ReadOnly {
		e.deps().Record(e.entry(audit.Allowed, nil))
	}
	timeout := e.timeout
	if !kind.ClientStreams && !kind.ServerStreams {
		if timeout == 0 {
			timeout = e.deps().Timeout
		}
		timeout = min(timeout, maxTimeout)
	}
	if e.endless = timeout == 0; e.endless {
		return nil
	}
	e.deadline = e.call.Began.Add(timeout)
	if timeout != e.timeout {
		e.timeoutText = passthrough.FormatTimeout(timeout)
	}
	e.call.Expire(time.Until(e.deadline) + grace)
	return nil
}

// fits tells whether the caller was built for the method as the callee has it.
func (e *exchange) fits() *refusal {
	if err := e.deps().Fits(e.caller.manifest.Name, e.module, e.call.Path); err != nil {
		return &refusal{code: codes.FailedPrecondition, message: err.Error()}
	}
	return nil
}

// missing says why the callee does not have the method. That the caller was built for another callee says more than that.
func (e *exchange) missing() *refusal {
	if refused := e.fits(); refused != nil {
		return refused
	}
	return &refusal{code: codes.Unimplemented, message: fmt.Sprintf("module %s has no method %s", e.module, e.call.Path)}
}

func (e *exchange) acquire(ctx context.Context, hold time.Duration) (*instance.Instance, error) {
	if e.endless {
		return e.deps().Instances.AcquireStream(ctx, e.module, hold)
	}
	return e.deps().Instances.Acquire(ctx, e.module, hold)
}

func (e *exchange) release(inst *instance.Instance) {
	if e.endless {
		inst.ReleaseStream()
		return
	}
	inst.Release()
}

// send has the call forwarded to an instance that is acquired, in a place of the pair's.
func (e *exchange) send(k *callee, client *passthrough.Client) passthrough.Next {
	timeout := e.timeoutText
	if left := time.Until(e.deadline); !e.endless && (e.tries > 0 || time.Since(e.call.Began) > time.Millisecond) {
		timeout = passthrough.FormatTimeout(max(left, time.Millisecond))
	}
	tried := k.plain
	if e.endless {
		tried = &attempt{to: k, stop: k.inst.OnDrain(func() {
			e.call.Interrupt(codes.Unavailable, fmt.Sprintf("module %s is stopping", e.module))
		})}
	}
	return passthrough.Next{To: client, Header: e.header(k.secret, timeout), Attempt: tried}
}

// later decides on a goroutine of its own, which ends with the call at the latest.
func (e *exchange) later(decide func(context.Context) passthrough.Next) {
	e.caller.calls.waiting.Go(func() {
		ctx := e.call.Context()
		if e.known && !e.endless {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, e.deadline)
			defer cancel()
		}
		e.call.Go(decide(ctx))
	})
}

// search waits for an instance, as long as one is coming and the time to hold the call is not over.
func (e *exchange) search(ctx context.Context) passthrough.Next {
	end := time.Now().Add(e.deps().Hold)
	if next, ok := e.await(ctx, e.deps().Hold); !ok {
		return next
	}
	if err := e.pair.places.AcquirePermitWithMaxWait(ctx, surge); err != nil {
		if ctx.Err() != nil {
			return e.unavailable(ctx.Err())
		}
		return e.pair.full()
	}
	next, sent := e.find(ctx, time.Until(end))
	if !sent {
		e.pair.places.ReleasePermit()
	}
	return next
}

// find sends the call to an instance. It reports false if that could not be.
func (e *exchange) find(ctx context.Context, hold time.Duration) (next passthrough.Next, sent bool) {
	inst, err := e.acquire(ctx, hold)
	if err != nil {
		return e.unavailable(err), false
	}
	k := e.caller.calls.callee(inst)
	if k == nil { // it has just ended
		e.release(inst)
		return e.astray(nil), false //nolint:contextcheck // its context is the call's
	}
	client, err := k.connect(ctx)
	if err != nil {
		e.release(inst)
		e.deps().Log.Debug("a call found no connection", "caller", e.caller.manifest.Name, "callee", e.module, "error", err)
		return e.astray(k), false //nolint:contextcheck // as above
	}
	return e.send(k, client), true
}

// astray has another attempt made of a call that has not come anywhere.
func (e *exchange) astray(k *callee) passthrough.Next {
	e.later(func(ctx context.Context) passthrough.Next {
		return e.again(ctx, passthrough.Break{Lost: true, Unprocessed: true, Kept: true}, k)
	})
	return passthrough.Next{Later: true}
}

// await waits until the module can be called, and for what it serves if it has not said so yet.
func (e *exchange) await(ctx context.Context, hold time.Duration) (next passthrough.Next, ok bool) {
	if !e.known {
		return e.learn(ctx, hold)
	}
	if err := e.deps().Instances.Await(ctx, e.module, hold); err != nil {
		return e.unavailable(err), false
	}
	return passthrough.Next{}, true
}

// learn waits for the module to say for the first time what it serves.
func (e *exchange) learn(ctx context.Context, hold time.Duration) (next passthrough.Next, ok bool) {
	if e.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, e.call.Began.Add(e.timeout))
		defer cancel()
	}
	if err := e.deps().Instances.Await(ctx, e.module, hold); err != nil {
		return e.unavailable(err), false
	}
	kind, known := e.deps().Method(e.module, e.call.Path)
	if !known {
		refused := e.missing()
		return passthrough.Next{Code: refused.code, Message: refused.message}, false
	}
	if refused := e.settle(kind); refused != nil {
		return passthrough.Next{Code: refused.code, Message: refused.message}, false
	}
	return passthrough.Next{}, true
}

// unavailable says why there is no instance.
func (e *exchange) unavailable(err error) passthrough.Next {
	var full *instance.OverloadedError
	switch {
	case errors.As(err, &full):
		return passthrough.Next{Code: codes.ResourceExhausted, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded):
		what := fmt.Sprintf("module %s was waited for until the call's time was over", e.module)
		return passthrough.Next{Code: codes.DeadlineExceeded, Message: what}
	case errors.Is(err, context.Canceled):
		return passthrough.Next{Code: codes.Canceled, Message: "the call is over"}
	}
	return passthrough.Next{Code: codes.Unavailable, Message: err.Error()}
}

// done ends what begin began.
func (e *exchange) done(tried any, outcome passthrough.Outcome) {
	a, trying := tried.(*attempt)
	blame := e.verdict(outcome, trying)
	if trying {
		a.release()
		e.pair.places.ReleasePermit()
		a.to.judge(blame)
	}
	e.pair.leave(outcome, time.Since(e.call.Began), blame)
}

// verdict is what the end of the call says of the callee. A caller that gave up in time says nothing.
func (e *exchange) verdict(outcome passthrough.Outcome, trying bool) verdict {
	switch {
	case outcome.ByCallee && outcome.Code != codes.Unavailable && outcome.Code != codes.DeadlineExceeded:
		return well
	case outcome.ByCallee, trying && (outcome.Code == codes.DeadlineExceeded || e.late()), e.failed.Load():
		return ill
	}
	return unknown
}
