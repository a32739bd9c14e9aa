package storage_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/storage/pgtest"
)

func TestEachKindOfRole(t *testing.T) {
	t.Parallel()
	for _, rights := range []pgtest.Rights{pgtest.CreateRole, pgtest.SuperuserRights} {
		t.Run(string(rights), func(t *testing.T) {
			url := cluster.Database(t, rights)
			s, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url)})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			t.Log(s.Name())
			for _, f := range s.Findings() {
				t.Logf("%+v", f)
			}
			owner, err := s.Login(t.Context(), "blog", storage.Owner)
			require.NoError(t, err)
			t.Log(owner.Database.Source)
			db := pgtest.Open(t, owner.Database.Source)
			require.NoError(t, db.Exec("CREATE TABLE blog_posts (n bigserial)").Error)
			rows, err := s.Ledger(t.Context(), "blog")
			require.NoError(t, err)
			require.Empty(t, rows)
			require.NoError(t, owner.Close(t.Context()))
			rw, err := s.Login(t.Context(), "blog", storage.ReadWrite)
			require.NoError(t, err)
			db = pgtest.Open(t, rw.Database.Source)
			require.NoError(t, db.Exec("INSERT INTO blog_posts DEFAULT VALUES").Error)
			require.Error(t, db.Exec("CREATE TABLE blog_x (n bigserial)").Error)
			require.NoError(t, rw.Close(t.Context()))
		})
	}
}
