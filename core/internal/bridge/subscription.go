package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

const (
	// holdInstance is how long a delivery that has begun waits for an instance that is expected soon, before it is given back.
	holdInstance = 10 * time.Second
)

// serve declares what a module subscribes to, calls done as soon as nobody need wait for that, and consumes whenever the module
// is ready.
func (b *Bridge) serve(ctx context.Context, m Module, done func()) {
	defer done()
	declared := make([]bus.Subscription, len(m.Subscriptions))
	for i, s := range m.Subscriptions {
		declared[i] = bus.Subscription{Module: m.Name, Pattern: s.Pattern, Ordered: s.Ordered}
	}
	for again := b.newRetry(); ; {
		err := b.Bus.Declare(ctx, m.Name, declared)
		if err == nil {
			break
		}
		if !errors.Is(err, bus.ErrUnavailable) {
			done() // it may never work, and what is there takes events nevertheless
		}
		if !again.wait(ctx, "declare the subscriptions of "+m.Name, err) {
			return
		}
	}
	done()
	var all sync.WaitGroup
	defer all.Wait()
	for i, s := range m.Subscriptions {
		c := &consumer{bridge: b, module: m.Name, subscription: s, declared: declared[i]}
		all.Go(func() { c.run(ctx) })
	}
}

// consumer is one subscription at work.
type consumer struct {
	bridge       *Bridge
	module       string
	subscription Subscription
	declared     bus.Subscription
}

// run consumes while the module is ready. While it is not, the bus keeps what comes.
func (c *consumer) run(ctx context.Context) {
	again := c.bridge.newRetry()
	for {
		changed, ready := c.bridge.Instances.State(c.module)
		if !ready {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := c.consume(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			again.well()
		case !again.wait(ctx, "consume "+c.declared.ID(), err):
			return
		}
	}
}

// consume returns when ctx ends or the module is no longer ready, and nobody expects it to be soon.
func (c *consumer) consume(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() {
		defer stop()
		c.bridge.Instances.AwaitGone(ctx, c.module)
	})
	return c.bridge.Bus.Consume(ctx, c.declared, bus.Consumer{
		Concurrency: c.subscription.Concurrency,
		Handle: func(handling context.Context, d bus.Delivery) bus.Verdict {
			verdict := c.handle(handling, ctx, d)
			c.bridge.metrics.handled.WithLabelValues(c.declared.ID(), verdict.Fate().String()).Inc()
			return verdict
		},
	})
}

// handle has one delivery handled by an instance of the module. While there is none it waits, and once consuming ends it gives
// the delivery back.
func (c *consumer) handle(ctx, consuming context.Context, d bus.Delivery) bus.Verdict {
	if d.Event.Version > c.subscription.Version {
		return bus.Dead(bus.Failure{Reason: bus.ReasonVersion, Error: fmt.Sprintf(
			"the event has version %d, the module knows %d at most (fix: update the module, then: platformd dlq retry)",
			d.Event.Version, c.subscription.Version)})
	}
	inst, err := c.acquire(ctx, consuming)
	if err != nil {
		return bus.Release()
	}
	defer inst.ReleaseStream()
	ctx, cancel := context.WithTimeout(ctx, c.subscription.Timeout)
	defer cancel()
	answer, err := inst.Handle(ctx, request(c.subscription.Pattern, d))
	switch {
	case err == nil && answer.GetError() == "":
		return bus.Ack()
	case err == nil && answer.GetDrop():
		return bus.Dead(bus.Failure{Reason: bus.ReasonDropped, Error: answer.GetError()})
	case err == nil:
		err = errors.New(answer.GetError())
	case inst.Draining() && status.Code(err) == codes.Unavailable:
		return bus.Release() // it had not begun
	default:
		err = c.explain(ctx, err)
	}
	return c.failed(d, err)
}

// acquire returns an instance, or an error when there is none and nobody waits for one any more.
func (c *consumer) acquire(ctx, consuming context.Context) (*instance.Instance, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(consuming, cancel)()
	for {
		inst, err := c.bridge.Instances.AcquireStream(ctx, c.module, holdInstance)
		if err == nil {
			return inst, nil
		}
		if !pause(ctx, firstPause) { // else it is there, and too busy
			return nil, err
		}
	}
}

// explain says what an error of the call means.
func (c *consumer) explain(ctx context.Context, err error) error {
	code := status.Code(err)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), code == codes.DeadlineExceeded,
		code == codes.Canceled && ctx.Err() == nil: // the module's clock was a little faster, and ended the call
		return fmt.Errorf("the handler took longer than %s (fix: make it faster, or raise events.subscribes.timeout)",
			c.subscription.Timeout)
	case code == codes.Unavailable:
		return fmt.Errorf("the module's process ended, or hung up, before it had answered: %s", status.Convert(err).Message())
	}
	return errors.New(status.Convert(err).Message())
}

// failed decides what becomes of a delivery that went wrong.
func (c *consumer) failed(d bus.Delivery, err error) bus.Verdict {
	why := bus.Failure{Error: err.Error()}
	if d.Attempt >= c.subscription.Attempts {
		why.Reason = bus.ReasonAttempts
		return bus.Dead(why)
	}
	after := pauseAfter(d.Attempt)
	c.bridge.Log.Debug("an event will be handled again", "subscription", c.declared.ID(), "event", d.Event.ID, "attempt", d.Attempt,
		"of", c.subscription.Attempts, "after", after.String(), "error", err)
	return bus.Retry(after, why)
}

func request(pattern string, d bus.Delivery) *modulev1.HandleRequest {
	return &modulev1.HandleRequest{
		Subscription: pattern, Attempt: int32(min(d.Attempt, 1<<30)), //nolint:gosec // bounded
		Event: wire.EventOnTheWire(d.Event),
	}
}
