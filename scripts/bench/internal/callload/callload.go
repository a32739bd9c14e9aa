// Package callload loads a service of another process with calls, from inside of a contestant: so many callers make one call at a
// time, each its next one when the last is answered. Every contestant runs it in the process that calls, and hands it a client.
//
// It must not know how calls travel.
package callload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/orders"

	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

// Path is where a contestant takes orders.
const Path = handler.Prefix + "/calls"

// Size is how long the text in a question is, and the one in its answer.
const Size = 200

// Call is the one kind of orders: from the call until its answer.
const Call orders.Kind = "call"

// patience is the deadline of a call.
const patience = 10 * time.Second

// New calls plans, whose service is billing.Generous, as it is ordered to.
func New(plans billingv1.BillingServiceClient) *orders.Desk {
	return orders.New(func(ctx context.Context, o orders.Order) (latency.Sample, error) {
		if o.Kind != Call {
			return latency.Sample{}, fmt.Errorf("nobody knows how to %q", o.Kind)
		}
		return o.Measure(ctx, func(ctx context.Context) error { return call(ctx, plans) }), nil
	})
}

var subject = strings.Repeat("s", Size)

func call(ctx context.Context, plans billingv1.BillingServiceClient) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plan, err := plans.GetPlan(ctx, &billingv1.GetPlanRequest{Subject: subject})
	switch {
	case err != nil:
		return err
	case plan.GetName() != subject:
		return errors.New("the answer is another one's")
	}
	return nil
}
