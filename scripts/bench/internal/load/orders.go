package load

import (
	"context"
	"fmt"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/callload"
	"github.com/platformd/platformd/scripts/bench/internal/eventload"
	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/orders"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// checkTime is how long a contestant makes its load, to see that it can.
const checkTime = 50 * time.Millisecond

// runOrder has the contestant make its load, and returns what it counted.
func runOrder(ctx context.Context, s *scenario.Scenario, to Target, d time.Duration) (latency.Sample, error) {
	kind := map[scenario.Kind]orders.Kind{
		scenario.Publish: eventload.Publish, scenario.Deliver: eventload.Deliver, scenario.Call: callload.Call,
	}[s.Kind]
	return to.order(ctx, s, orders.Order{Kind: kind, Callers: s.Connections, Duration: d})
}

// Settle waits until a contestant has done what a run left behind: events that were published, and are not handled yet.
func Settle(ctx context.Context, s *scenario.Scenario, to Target) error {
	if s.Subject != scenario.Events {
		return nil
	}
	_, err := to.order(ctx, s, orders.Order{Kind: eventload.Settle})
	return err
}

// checkOrder has a little of the load made.
func checkOrder(ctx context.Context, s *scenario.Scenario, to Target) error {
	sample, err := runOrder(ctx, s, to, checkTime)
	switch {
	case err != nil:
		return err
	case sample.Errors > 0:
		return fmt.Errorf("%d failed: %s", sample.Errors, sample.Problem)
	}
	return Settle(ctx, s, to)
}

func (t Target) order(ctx context.Context, s *scenario.Scenario, o orders.Order) (latency.Sample, error) {
	return orders.Give(ctx, "http://"+t.Address+s.Path, o)
}
