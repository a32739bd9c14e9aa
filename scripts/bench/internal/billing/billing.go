// Package billing answers in the place of the module billing: where only the asking is measured, what billing does would be in
// the way.
package billing

import (
	"context"
	"math"

	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

// Generous allows everybody as many posts as they like, on a plan that is called as they are: an answer is as long as its
// question. The zero value is usable.
type Generous struct {
	billingv1.UnimplementedBillingServiceServer
}

// GetPlan implements billingv1.BillingServiceServer.
func (Generous) GetPlan(_ context.Context, req *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error) {
	return &billingv1.GetPlanResponse{Name: req.GetSubject(), PostLimit: math.MaxInt64}, nil
}
