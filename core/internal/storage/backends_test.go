package storage_test

import (
	"path/filepath"
	"testing"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/storage/storagetest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, storagetest.Backend{New: func(t *testing.T) func() storage.Options {
		dir := filepath.Join(t.TempDir(), "data")
		return func() storage.Options { return storage.Options{DataDir: dir} }
	}})
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	for name, rights := range map[string]pgtest.Rights{"superuser": pgtest.SuperuserRights, "createrole": pgtest.CreateRole} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storagetest.Run(t, storagetest.Backend{Server: true, New: func(t *testing.T) func() storage.Options {
				return daemons(t, cluster.Database(t, rights))
			}})
		})
	}
}

// daemons returns the options of one more daemon on the database, each time.
func daemons(t *testing.T, url string) func() storage.Options {
	t.Helper()
	return func() storage.Options {
		return storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3}
	}
}
