package postgres_test

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// TestCallersWhoLeaveCostOthersNothing: a canceled query ends its connection, and the role may have no more than the pool. Those
// who stay wait for the server to notice; they are not told that there is no connection left.
func TestCallersWhoLeaveCostOthersNothing(t *testing.T) {
	t.Parallel()
	const conns, rounds = 3, 30
	source := with(t, dbtest.Server(t), func(u *url.URL, _ url.Values) { u.User = login(t, "CONNECTION LIMIT 3") })
	db := open(t, source, postgres.Options{MaxConns: conns})
	for range rounds {
		var all sync.WaitGroup
		for range conns {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				defer cancel()
				_ = db.WithContext(ctx).Exec("SELECT pg_sleep(10)").Error // leaves
			})
		}
		all.Wait()
		for range conns {
			all.Go(func() {
				if err := db.WithContext(t.Context()).Exec("SELECT 1").Error; err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}
