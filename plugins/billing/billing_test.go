package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
	"github.com/platformd/platformd/plugins/billing/perm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs billing for a caller who may do everything. It fails unless module.yaml and the code agree.
func start(t *testing.T, database *plugintest.Database) *plugintest.Server {
	t.Helper()
	return plugintest.Start(t, newBilling().module(), allowed(database))
}

func TestReadersChangeNothing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		reader := billing.As(pluginapi.Principal{Kind: "token", ID: "reader"}, perm.PlanRead, perm.SubscriptionRead)
		plan := terms{Name: "Pro", Currency: "EUR", PostLimit: 1}
		for name, answer := range map[string]*plugintest.Response{
			"create plan": reader.Post("/plans", plan),
			"update plan": reader.Put("/plans/default", plan),
			"delete plan": reader.Delete("/plans/default"),
			"subscribe":   reader.Post("/subscriptions", order{PlanID: defaultPlan, Subject: "ada"}),
			"cancel":      reader.Delete("/subscriptions/any"),
		} {
			require.Equal(t, http.StatusForbidden, answer.Status, name)
		}
		for _, path := range []string{"/plans", "/plans/default", "/subscriptions"} {
			require.Equal(t, http.StatusOK, reader.Get(path).Status, path)
			require.Equal(t, http.StatusUnauthorized, billing.Anonymous().Get(path).Status, path)
		}
	})
}

func TestMigrationsRunOnceAndCanBeUndone(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		options := allowed(database)
		billing := plugintest.Start(t, newBilling().module(), options)
		changed := terms{Name: "Free", Currency: "USD", PostLimit: 3}
		require.Equal(t, http.StatusOK, billing.Put("/plans/default", changed).Status)
		billing.Stop()

		billing = plugintest.Start(t, newBilling().module(), options)
		var plan Plan
		billing.Get("/plans/default").JSON(&plan)
		require.EqualValues(t, 3, plan.PostLimit, "a second start must not make the default plan again")
		steps := migrations()
		billing.Stop()

		for i := range steps.IDs {
			last := steps.IDs[len(steps.IDs)-1-i]
			_, err := steps.Run(t.Context(), database.Migrations, pluginapi.Step{ID: last, Down: true})
			require.NoError(t, err, last)
		}
		billing = plugintest.Start(t, newBilling().module(), options)
		billing.Get("/plans/default").JSON(&plan)
		require.EqualValues(t, 10_000, plan.PostLimit)
	})
}

// allowed is a caller who may do everything, on the given database.
func allowed(database *plugintest.Database) plugintest.Options {
	return plugintest.Options{Permissions: []string{"billing.*"}, Database: database}
}
