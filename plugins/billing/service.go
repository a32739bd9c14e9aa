package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

// plans is what other modules may ask.
type plans struct {
	billingv1.UnimplementedBillingServiceServer
	*billing
}

// GetPlan implements billingv1.BillingServiceServer.
func (p *plans) GetPlan(ctx context.Context, req *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error) {
	if req.GetSubject() == "" {
		return nil, status.Error(codes.InvalidArgument, "subject is missing: name the id of a principal")
	}
	db := p.db.WithContext(ctx)
	var subscription Subscription
	err := db.Take(&subscription, "subject = ? AND status = ?", req.GetSubject(), statusActive).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		subscription.PlanID = defaultPlan
	case err != nil:
		return nil, fmt.Errorf("find the subscription: %w", err)
	}
	plan, err := findPlan(db, subscription.PlanID)
	if err != nil {
		return nil, err
	}
	return &billingv1.GetPlanResponse{Name: plan.Name, PostLimit: plan.PostLimit}, nil
}
