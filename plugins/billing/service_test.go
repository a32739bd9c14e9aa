package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

func TestOtherModulesAskForPlans(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		client := billingv1.NewBillingServiceClient(billing.Services("blog", pluginapi.Principal{Kind: "user", ID: "ada"}))
		planOf := func(subject string) (string, int64) {
			answer, err := client.GetPlan(t.Context(), &billingv1.GetPlanRequest{Subject: subject})
			require.NoError(t, err)
			return answer.GetName(), answer.GetPostLimit()
		}
		name, limit := planOf("ada")
		require.Equal(t, "Default", name)
		require.EqualValues(t, 10_000, limit)

		pro := add(t, billing, terms{Name: "Pro", Currency: "EUR", PostLimit: 7})
		subscription := subscribe(t, billing, pro.ID, "ada")
		name, limit = planOf("ada")
		require.Equal(t, "Pro", name)
		require.EqualValues(t, 7, limit)
		name, _ = planOf("bob")
		require.Equal(t, "Default", name, "that is ada's")

		require.Equal(t, http.StatusNoContent, billing.Delete("/subscriptions/"+subscription.ID).Status)
		name, _ = planOf("ada")
		require.Equal(t, "Default", name, "the subscription has ended")

		_, err := client.GetPlan(t.Context(), &billingv1.GetPlanRequest{})
		require.Equal(t, codes.InvalidArgument, status.Code(err))
	})
}
