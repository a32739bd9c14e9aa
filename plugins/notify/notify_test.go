package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
	"github.com/platformd/platformd/plugins/notify/perm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, database *plugintest.Database) *plugintest.Server {
	t.Helper()
	return plugintest.Start(t, newNotify().module(), plugintest.Options{
		Permissions: []string{perm.FeedRead}, Database: database,
	})
}

func event(n int, kind string) pluginapi.Event {
	return pluginapi.Event{
		ID: fmt.Sprint("e", n), Source: "/modules/blog", Type: kind, Version: 1, Subject: fmt.Sprint("posts/", n),
		Time: time.Date(2026, 5, 1, 12, 0, n, 0, time.UTC), Data: []byte(`{}`),
	}
}

func read(t *testing.T, s *plugintest.Server, query string) []Item {
	t.Helper()
	got := s.Get("/feed" + query)
	require.Equal(t, http.StatusOK, got.Status)
	var page struct{ Items []Item }
	got.JSON(&page)
	require.NotNil(t, page.Items)
	return page.Items
}

func TestFeed(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "notify", func(t *testing.T, database *plugintest.Database) {
		s := start(t, database)
		require.Empty(t, read(t, s, ""))
		for n := range 60 {
			kind := []string{"blog.post.created", "billing.subscription.created"}[n%2]
			require.NoError(t, s.Deliver(t.Context(), event(n, kind)))
			require.NoError(t, s.Deliver(t.Context(), event(n, kind)), "it may come again")
		}
		require.Len(t, read(t, s, ""), feedSize)
		require.Len(t, read(t, s, "?limit=500"), 60)
		newest := read(t, s, "?limit=1")[0]
		newest.Seq = 0
		last := event(59, "billing.subscription.created")
		require.Equal(t, Item{ID: last.ID, Type: last.Type, Source: last.Source, Subject: last.Subject, Time: last.Time}, newest)
		require.Len(t, read(t, s, "?type=blog.post.created&limit=500"), 30)
		require.Empty(t, read(t, s, "?type=nothing"))
		for _, limit := range []string{"0", "501", "-1", "x", "1e3"} {
			got := s.Get("/feed?limit=" + limit)
			require.Equal(t, http.StatusBadRequest, got.Status, limit)
		}
	})
}
