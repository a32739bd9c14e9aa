package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// PostgreSQL refuses texts that SQLite takes. Whoever sends them has made a mistake, and not the module.
func TestTextsThatNotEveryDatabaseTakes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		for name, answer := range map[string]*plugintest.Response{
			"a zero byte in a filter": billing.Get("/subscriptions?subject=a%00b"),
			"a filter of no text":     billing.Get("/subscriptions?plan_id=%ff"),
			"a zero byte in a plan":   billing.Post("/subscriptions", order{PlanID: "a\x00b", Subject: "ada"}),
			"a zero byte in a name":   billing.Post("/plans", terms{Name: "a\x00b", Currency: "EUR", PostLimit: 1}),
		} {
			require.Equal(t, http.StatusBadRequest, answer.Status, name)
			require.Equal(t, "invalid_argument", answer.Problem().Code, name)
		}
	})
}
