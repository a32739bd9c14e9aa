package embedded

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	billingv1 "github.com/platformd/platformd/proto/billing/v1"

	"github.com/platformd/platformd/scripts/bench/internal/billing"
)

// neighbours is the connection to the modules that live in the same process: to billing.
type neighbours struct{ billing.Generous }

// Invoke implements grpc.ClientConnInterface.
//
//nolint:revive // argument-limit: gRPC's signature
func (n neighbours) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	request, ok := args.(*billingv1.GetPlanRequest)
	into, known := reply.(proto.Message)
	if !ok || !known || method != billingv1.BillingService_GetPlan_FullMethodName {
		return status.Errorf(codes.Unimplemented, "%s: there is no platform behind this module", method)
	}
	plan, err := n.GetPlan(ctx, request)
	if err == nil {
		proto.Merge(into, plan)
	}
	return err
}

// NewStream implements grpc.ClientConnInterface.
func (neighbours) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (
	grpc.ClientStream, error,
) {
	return nil, status.Errorf(codes.Unimplemented, "%s: there is no platform behind this module", method)
}
