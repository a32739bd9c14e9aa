package callload

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	billingv1 "github.com/platformd/platformd/proto/billing/v1"

	"github.com/platformd/platformd/scripts/bench/internal/billing"
	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/orders"
)

// client answers in the same process.
type client func(context.Context, *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error)

// GetPlan implements billingv1.BillingServiceClient.
func (c client) GetPlan(ctx context.Context, req *billingv1.GetPlanRequest, _ ...grpc.CallOption) (
	*billingv1.GetPlanResponse, error,
) {
	<-time.After(time.Millisecond)
	return c(ctx, req)
}

// load has a service loaded for a moment.
func load(t *testing.T, kind orders.Kind, c client) (latency.Sample, error) {
	t.Helper()
	server := httptest.NewServer(New(c))
	defer server.Close()
	return orders.Give(t.Context(), server.URL, orders.Order{Kind: kind, Callers: 2, Duration: 50 * time.Millisecond})
}

func TestCallsAreAnswered(t *testing.T) {
	t.Parallel()
	sample, err := load(t, Call, func(ctx context.Context, req *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error) {
		if _, limited := ctx.Deadline(); !limited {
			return nil, errors.New("without a deadline")
		}
		answer, err := billing.Generous{}.GetPlan(ctx, req)
		if len(req.GetSubject()) != Size || len(answer.GetName()) != Size {
			return nil, errors.New("of another size")
		}
		return answer, err
	})
	require.NoError(t, err)
	require.Zero(t, sample.Errors, sample.Problem)
	require.Positive(t, sample.Requests)
	require.GreaterOrEqual(t, sample.P50, time.Millisecond)
}

func TestWrongAnswersAreErrors(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]client{
		"no": func(context.Context, *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error) {
			return nil, errors.New("no")
		},
		"the answer is another one's": func(context.Context, *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error) {
			return &billingv1.GetPlanResponse{Name: "unlimited"}, nil
		},
	} {
		sample, err := load(t, Call, c)
		require.NoError(t, err)
		require.Zero(t, sample.Requests)
		require.Positive(t, sample.Errors)
		require.Equal(t, want, sample.Problem)
	}
	_, err := load(t, "shout", nil)
	require.ErrorContains(t, err, `nobody knows how to "shout"`)
}
