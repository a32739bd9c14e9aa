package daemon

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/storage/storagetest"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestAModulesTablesForEvents(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{storage.IsolationRole, storage.IsolationSchema} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			store := storagetest.Open(t, storage.Options{
				DataDir: t.TempDir(), URL: config.SecretURL(dbtest.Empty(t)), Isolation: isolation, MaxConns: 3,
			})
			d := &daemon{storage: store, log: hclog.NewNullLogger()}
			mod := &supervisor.Module{Module: &catalog.Module{Manifest: &manifest.Manifest{Name: "blog"}}}
			work := storagetest.Connect(t, storagetest.Login(t, store, "blog", storage.ReadWrite))
			require.NoError(t, d.makeOutbox(t.Context(), mod))
			require.False(t, outbox.Ready(t.Context(), work), "the manifest says nothing of events")

			mod.Manifest.Events.Publishes = []manifest.Publication{{Type: "blog.post.created", Version: 1}}
			for range 2 {
				require.NoError(t, d.makeOutbox(t.Context(), mod))
			}
			require.True(t, outbox.Ready(t.Context(), work))
			e := event.Event{Type: "blog.post.created", Version: 1, Source: "/modules/blog", Key: "7"}.Stamped("")
			require.NoError(t, work.Transaction(func(tx *gorm.DB) error { return outbox.Add(t.Context(), tx, e) }))
			require.NoError(t, work.Transaction(func(tx *gorm.DB) error {
				first, err := outbox.Enter(t.Context(), tx, "blog.*", e)
				require.True(t, first)
				return err
			}))
			rows, err := outbox.Next(t.Context(), work, 10)
			require.NoError(t, err)
			require.Len(t, rows, 1)
			require.NoError(t, outbox.Remove(t.Context(), work, []int64{rows[0].Seq}))
		})
	}
}
