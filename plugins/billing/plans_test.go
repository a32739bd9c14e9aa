package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// add makes a plan.
func add(t *testing.T, billing *plugintest.Server, wanted terms) (plan Plan) {
	t.Helper()
	answer := billing.Post("/plans", wanted)
	require.Equal(t, http.StatusCreated, answer.Status, string(answer.Body))
	answer.JSON(&plan)
	return plan
}

func TestDefaultPlan(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		var plan Plan
		billing.Get("/plans/default").JSON(&plan)
		require.Equal(t, "default", plan.ID)
		require.EqualValues(t, 10_000, plan.PostLimit)

		answer := billing.Delete("/plans/default")
		require.Equal(t, http.StatusConflict, answer.Status)
		require.Equal(t, "plan_in_use", answer.Problem().Code)
	})
}

func TestPlanLife(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		answer := billing.Post("/plans", terms{Name: "Pro", PriceCents: 900, Currency: "EUR", PostLimit: 50_000})
		require.Equal(t, http.StatusCreated, answer.Status)
		var plan, read Plan
		answer.JSON(&plan)
		require.Equal(t, "/api/v1/billing/plans/"+plan.ID, answer.Header.Get("Location"))
		require.NotContains(t, string(answer.Body), "elete", "clients do not see the mark of deletion")

		billing.Get("/plans/" + plan.ID).JSON(&read)
		require.Equal(t, plan, read)

		var changed Plan
		billing.Put("/plans/"+plan.ID, terms{Name: "Pro", PriceCents: 0, Currency: "USD", PostLimit: 1}).JSON(&changed)
		require.Equal(t, Plan{
			ID: plan.ID, Name: "Pro", Currency: "USD", PostLimit: 1, CreatedAt: plan.CreatedAt, UpdatedAt: changed.UpdatedAt,
		}, changed)
		require.True(t, changed.UpdatedAt.After(plan.UpdatedAt))

		var list page[Plan]
		billing.Get("/plans").JSON(&list)
		require.Equal(t, []string{plan.ID, "default"}, []string{list.Items[0].ID, list.Items[1].ID})

		require.Equal(t, http.StatusNoContent, billing.Delete("/plans/"+plan.ID).Status)
		for name, answer := range map[string]*plugintest.Response{
			"get":    billing.Get("/plans/" + plan.ID),
			"put":    billing.Put("/plans/"+plan.ID, terms{Name: "Pro", Currency: "EUR", PostLimit: 1}),
			"delete": billing.Delete("/plans/" + plan.ID),
		} {
			require.Equal(t, http.StatusNotFound, answer.Status, name)
		}
		billing.Get("/plans").JSON(&list)
		require.Len(t, list.Items, 1)
	})
}

func TestPlanNamesAreUnique(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		pro := terms{Name: "Pro", Currency: "EUR", PostLimit: 1}
		plan := add(t, billing, pro)
		for name, answer := range map[string]*plugintest.Response{
			"create": billing.Post("/plans", pro),
			"update": billing.Put("/plans/default", pro),
		} {
			require.Equal(t, http.StatusConflict, answer.Status, name)
			require.Equal(t, "already_exists", answer.Problem().Code, name)
		}
		require.Equal(t, http.StatusNoContent, billing.Delete("/plans/"+plan.ID).Status)
		add(t, billing, pro) // its name is free again
	})
}

func TestPlansMustBeValid(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		for name, test := range map[string]struct {
			terms  terms
			detail string
		}{
			"no name":         {terms{Currency: "EUR", PostLimit: 1}, "name must be"},
			"long name":       {terms{Name: strings.Repeat("x", 101), Currency: "EUR", PostLimit: 1}, "name must be"},
			"two lines":       {terms{Name: "a\nb", Currency: "EUR", PostLimit: 1}, "in one line"},
			"negative price":  {terms{Name: "n", PriceCents: -1, Currency: "EUR", PostLimit: 1}, "price_cents is negative"},
			"no currency":     {terms{Name: "n", PostLimit: 1}, "ISO 4217"},
			"small currency":  {terms{Name: "n", Currency: "eur", PostLimit: 1}, "ISO 4217"},
			"no posts at all": {terms{Name: "n", Currency: "EUR"}, "post_limit must be at least 1"},
		} {
			for method, path := range map[string]string{http.MethodPost: "/plans", http.MethodPut: "/plans/default"} {
				answer := billing.Do(method, path, test.terms)
				require.Equal(t, http.StatusBadRequest, answer.Status, "%s %s", method, name)
				require.Contains(t, answer.Problem().Detail, test.detail, "%s %s", method, name)
			}
		}
		answer := billing.Post("/plans", `{"name":"n","price_cents":1.5,"currency":"EUR","post_limit":1}`)
		require.Equal(t, http.StatusBadRequest, answer.Status)
	})
}
