package main

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestSubscriptionsAreAnnounced(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		var s Subscription
		billing.Post("/subscriptions", order{PlanID: defaultPlan, Subject: "ada"}).JSON(&s)
		require.Equal(t, http.StatusConflict, billing.Post("/subscriptions", order{PlanID: defaultPlan, Subject: "ada"}).Status)
		for range 2 {
			require.Equal(t, http.StatusNoContent, billing.Delete("/subscriptions/"+s.ID).Status)
		}
		require.Equal(t, http.StatusNotFound, billing.Delete("/subscriptions/none").Status)
		published := billing.Published()
		require.Len(t, published, 2, "what changes nothing is not announced")
		for i, kind := range []string{subscriptionCreated, subscriptionCanceled} {
			require.Equal(t, kind, published[i].Type)
			require.Equal(t, "ada", published[i].Key)
			require.JSONEq(t, `{"id":"`+s.ID+`","plan_id":"default","subject":"ada"}`, string(published[i].Data))
		}
	})
}

func TestPostsAreCountedOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "billing", func(t *testing.T, database *plugintest.Database) {
		billing := start(t, database)
		posts := func(subject string) int64 {
			var usage Usage
			billing.Get("/usage/" + subject).JSON(&usage)
			require.Equal(t, subject, usage.Subject)
			return usage.Posts
		}
		require.Zero(t, posts("ada"))
		for n := range 3 {
			e := pluginapi.Event{
				ID: fmt.Sprint("e", n), Type: "blog.post.created", Version: 1, Data: []byte(`{"id":"1","author_id":"ada"}`),
			}
			require.NoError(t, billing.Deliver(t.Context(), e))
			require.NoError(t, billing.Deliver(t.Context(), e), "it may come again")
		}
		require.EqualValues(t, 3, posts("ada"))
		require.Zero(t, posts("bob"))
		for _, data := range []string{"", "no JSON", `{"id":"1"}`} {
			err := billing.Deliver(t.Context(), pluginapi.Event{ID: "bad", Type: "blog.post.created", Version: 1, Data: []byte(data)})
			var drop *pluginapi.DropError
			require.ErrorAs(t, err, &drop, "%q: trying again is no use", data)
		}
	})
}
