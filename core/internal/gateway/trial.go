package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/plugin-api/link"
)

// noticeEnd is how long after a broken connection the end of its process is still expected: a killed process closes its
// sockets a moment before it can be waited for, and its last output is read for a moment after that.
const noticeEnd = time.Second

// trial is one request on its way to an instance, and on to another one if the first breaks.
type trial struct {
	*route
	a    *answer
	r    *http.Request // the client's
	sent *http.Request // the same with the exchange's context
	ex   instance.Exchange
	body *keptBody

	hold    time.Duration // what is left of server.holdTimeout
	tries   int
	unknown error // of the last try that had reached its instance: what became of it is not known
}

// run returns nil when the request has been answered.
func (t *trial) run() error {
	for {
		inst, err := t.find()
		if err != nil {
			return t.notFound(err)
		}
		if err = t.send(inst); err == nil || !t.again(inst, err) {
			return err
		}
	}
}

// notFound prefers what happened to the request before, to why there is no instance to try it in again.
func (t *trial) notFound(err error) error {
	over := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	var moved *movedError
	if t.unknown == nil || over || errors.As(err, &moved) && idempotent(t.r.Method) {
		return err
	}
	return t.unknown
}

// find returns an instance, acquired, and waits only where it must: the usual request costs no timer.
func (t *trial) find() (*instance.Instance, error) {
	if err := t.shorten(); err != nil {
		return nil, err
	}
	if t.needed() {
		if inst, err := t.acquire(t.sent.Context(), 0); err == nil {
			return t.ours(inst)
		}
	}
	inst, err := t.wait()
	if err != nil {
		return nil, err
	}
	return t.ours(inst)
}

// needed tells whether all modules that the route cannot do without are there.
func (t *trial) needed() bool {
	for _, name := range t.Needs {
		if t.gateway.instances.Ready(name) != nil {
			return false
		}
	}
	return true
}

func (t *trial) acquire(ctx context.Context, hold time.Duration) (*instance.Instance, error) {
	if t.endless() {
		return t.gateway.instances.AcquireStream(ctx, t.module, hold)
	}
	return t.gateway.instances.Acquire(ctx, t.module, hold)
}

// wait waits for the modules that the route needs and for an instance of its own, as long as they are coming and the time to
// hold the request is not over.
func (t *trial) wait() (*instance.Instance, error) {
	ctx := t.sent.Context()
	if timeout := t.ex.Call.Timeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	end := time.Now().Add(t.hold)
	defer func() { t.hold = time.Until(end) }()
	for _, name := range t.Needs {
		if err := t.gateway.instances.Await(ctx, name, time.Until(end)); err != nil {
			return nil, needs(t.module, name, err)
		}
	}
	inst, err := t.acquire(ctx, time.Until(end))
	if err == nil {
		t.leave()
	}
	return inst, err
}

// needs names the chain that leads to err.
func needs(module, name string, err error) error {
	return fmt.Errorf("module %s needs %s: %w", module, name, err)
}

// shorten takes off the call's time what earlier tries have used up.
func (t *trial) shorten() error {
	if t.tries == 0 || t.leave() {
		return nil
	}
	return context.DeadlineExceeded
}

// leave leaves the call what is left of the route's time. It reports false if that is nothing.
func (t *trial) leave() bool {
	if t.ex.Call.Timeout == 0 {
		return true
	}
	left := t.Timeout.Std() - time.Since(t.a.began)
	t.ex.Call.Timeout = max(left, time.Millisecond)
	return left > 0
}

// send lets the instance answer.
func (t *trial) send(inst *instance.Instance) error {
	t.tries++
	t.a.sent = true
	if t.endless() {
		defer inst.ReleaseStream()
	} else {
		defer inst.Release()
	}
	return inst.ServeHTTP(t.a, t.sent, t.ex)
}

// again tells whether the request, which failed in inst with err, is to be sent to another instance.
func (t *trial) again(inst *instance.Instance, err error) bool {
	f := failure{
		method: t.r.Method, keyed: t.keyed(t.r), upgrade: t.ex.Upgrade, body: t.body.state(), tries: t.tries,
	}
	var failed *link.ExchangeError
	if !errors.As(err, &failed) {
		return false
	}
	f.reached, f.cause = failed.Reached, causeOf(t.sent.Context(), failed, inst.Draining())
	if !f.repeatable() {
		return false
	}
	if f.cause == causeBroken && !t.ended(inst) && f.reached {
		return false // a module that lives has cut its connection: that was its answer
	}
	if f.reached {
		t.unknown = err
	}
	t.body.rewind()
	t.gateway.metrics.repeated.WithLabelValues(t.module).Inc()
	t.gateway.log.Debug("a request is sent again", "module", t.module, "route", t.ID, "reached", f.reached, "error", failed.Err)
	return true
}

// ended tells whether the instance's process ends within a moment.
func (t *trial) ended(inst *instance.Instance) bool {
	began := time.Now()
	defer func() { t.hold -= time.Since(began) }()
	moment := time.NewTimer(min(noticeEnd, t.hold))
	defer moment.Stop()
	select {
	case <-inst.Done():
		return true
	case <-moment.C:
	case <-t.sent.Context().Done():
	}
	return false
}
