package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// subscribe puts somebody on a plan.
func subscribe(t *testing.T, billing *plugintest.Server, plan, subject string) (subscription Subscription) {
	t.Helper()
	answer := billing.Post("/subscriptions", order{PlanID: plan, Subject: subject})
	require.Equal(t, http.StatusCreated, answer.Status, string(answer.Body))
	answer.JSON(&subscription)
	return subscription
}

func TestSubscriptionLife(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		answer := billing.Post("/subscriptions", order{PlanID: defaultPlan, Subject: "ada"})
		require.Equal(t, http.StatusCreated, answer.Status)
		var subscription, read Subscription
		answer.JSON(&subscription)
		require.Equal(t, "/api/v1/billing/subscriptions/"+subscription.ID, answer.Header.Get("Location"))
		require.Equal(t, "active", subscription.Status)
		require.Nil(t, subscription.CanceledAt)

		path := "/subscriptions/" + subscription.ID
		billing.Get(path).JSON(&read)
		require.Equal(t, subscription, read)

		require.Equal(t, http.StatusNoContent, billing.Delete(path).Status)
		billing.Get(path).JSON(&read)
		require.Equal(t, "canceled", read.Status)
		require.NotNil(t, read.CanceledAt)

		require.Equal(t, http.StatusNoContent, billing.Delete(path).Status)
		var again Subscription
		billing.Get(path).JSON(&again)
		require.Equal(t, read, again, "to cancel again changes nothing")

		require.Equal(t, http.StatusNotFound, billing.Get("/subscriptions/none").Status)
		require.Equal(t, http.StatusNotFound, billing.Delete("/subscriptions/none").Status)
	})
}

func TestOneActiveSubscriptionEach(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		first := subscribe(t, billing, defaultPlan, "ada")
		answer := billing.Post("/subscriptions", order{PlanID: defaultPlan, Subject: "ada"})
		require.Equal(t, http.StatusConflict, answer.Status)
		require.Contains(t, answer.Problem().Detail, "cancel it first")
		subscribe(t, billing, defaultPlan, "bob")

		require.Equal(t, http.StatusNoContent, billing.Delete("/subscriptions/"+first.ID).Status)
		subscribe(t, billing, defaultPlan, "ada")
	})
}

func TestPlanInUseStays(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		plan := add(t, billing, terms{Name: "Pro", Currency: "EUR", PostLimit: 1})
		subscription := subscribe(t, billing, plan.ID, "ada")

		answer := billing.Delete("/plans/" + plan.ID)
		require.Equal(t, http.StatusConflict, answer.Status)
		require.Equal(t, "plan_in_use", answer.Problem().Code)
		require.Equal(t, http.StatusOK, billing.Get("/plans/"+plan.ID).Status)

		require.Equal(t, http.StatusNoContent, billing.Delete("/subscriptions/"+subscription.ID).Status)
		require.Equal(t, http.StatusNoContent, billing.Delete("/plans/"+plan.ID).Status)
		require.Equal(t, http.StatusOK, billing.Get("/subscriptions/"+subscription.ID).Status, "the past stays")
		require.Equal(t, http.StatusBadRequest, billing.Post("/subscriptions", order{PlanID: plan.ID, Subject: "bob"}).Status)
	})
}

// However many delete a plan and subscribe to it at once, nobody is left with a plan that is gone.
func TestDeletingAndSubscribingAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		for round := range 20 {
			plan := add(t, billing, terms{Name: fmt.Sprint("Plan ", round), Currency: "EUR", PostLimit: 1})
			var subscribed, deleted *plugintest.Response
			var both sync.WaitGroup
			both.Go(func() {
				subscribed = billing.Post("/subscriptions", order{PlanID: plan.ID, Subject: fmt.Sprint("ada-", round)})
			})
			both.Go(func() { deleted = billing.Delete("/plans/" + plan.ID) })
			both.Wait()
			outcome := []int{subscribed.Status, deleted.Status}
			require.Contains(t, [][]int{
				{http.StatusCreated, http.StatusConflict}, {http.StatusBadRequest, http.StatusNoContent},
			}, outcome, "round %d", round)
		}
	})
}

func TestSubscriptionsAreListed(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		plan := add(t, billing, terms{Name: "Pro", Currency: "EUR", PostLimit: 1})
		var want []string // newest first
		for i := range 7 {
			on := []string{defaultPlan, plan.ID}[i%2]
			want = append([]string{subscribe(t, billing, on, fmt.Sprint("subject-", i)).ID}, want...)
		}
		require.Equal(t, http.StatusNoContent, billing.Delete("/subscriptions/"+want[0]).Status)
		for query, expected := range map[string][]string{
			"limit=3":                      want,
			"limit=100":                    want,
			"limit=1000&":                  want,
			"limit=2&plan_id=default":      {want[0], want[2], want[4], want[6]},
			"limit=1&plan_id=" + plan.ID:   {want[1], want[3], want[5]},
			"limit=20&subject=subject-6":   {want[0]},
			"limit=20&status=canceled":     {want[0]},
			"limit=20&subject=x%27+OR+1=1": nil,
		} {
			require.Equal(t, expected, walk(billing, query), query)
		}
		for _, query := range []string{"limit=0", "limit=x", "cursor=x"} {
			require.Equal(t, http.StatusBadRequest, billing.Get("/subscriptions?"+query).Status, query)
		}
	})
}

// walk follows a list to its end.
func walk(billing *plugintest.Server, query string) (ids []string) {
	for cursor := ""; ; {
		var list page[Subscription]
		billing.Get("/subscriptions?" + query + cursor).JSON(&list)
		for _, subscription := range list.Items {
			ids = append(ids, subscription.ID)
		}
		if list.Next == nil {
			return ids
		}
		cursor = "&cursor=" + *list.Next
	}
}

func TestSubscriptionsMustBeValid(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		for name, body := range map[string]any{
			"no plan":       order{Subject: "ada"},
			"unknown plan":  order{PlanID: "none", Subject: "ada"},
			"no subject":    order{PlanID: defaultPlan, Subject: " "},
			"long subject":  order{PlanID: defaultPlan, Subject: strings.Repeat("x", 201)},
			"zero byte":     order{PlanID: defaultPlan, Subject: "a\x00b"},
			"foreign field": `{"plan_id":"default","subject":"ada","status":"canceled"}`,
		} {
			answer := billing.Post("/subscriptions", body)
			require.Equal(t, http.StatusBadRequest, answer.Status, name)
			require.Equal(t, "invalid_argument", answer.Problem().Code, name)
		}
	})
}
