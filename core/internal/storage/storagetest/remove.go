package storagetest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/storage"
)

// goes: of what a module had nothing is left, on the server too, and it may begin anew, by whichever daemon.
func (b Backend) goes(t *testing.T) {
	open := b.New(t)
	s := Open(t, open())
	fill := func(s *storage.Storage, module string) {
		login, err := s.Login(t.Context(), module, storage.Owner)
		require.NoError(t, err)
		db := Connect(t, login)
		require.NoError(t, db.AutoMigrate(&item{}))
		require.NoError(t, db.Create(&[]item{{Name: "one"}, {Name: "two"}}).Error)
		require.NoError(t, login.Close(context.WithoutCancel(t.Context())))
	}
	parts, err := s.Inspect(t.Context(), "blog")
	require.NoError(t, err)
	require.Empty(t, parts)
	require.NoError(t, s.Remove(t.Context(), "blog"), "nothing is there")
	before := b.traces(t, s)
	fill(s, "blogger")
	other := b.traces(t, s)
	fill(s, "blog")
	require.NotEqual(t, other, b.traces(t, s))
	parts, err = s.Inspect(t.Context(), "blog")
	require.NoError(t, err)
	rows := map[string]int64{}
	for _, p := range parts {
		require.Empty(t, p.Note)
		rows[p.Kind] = p.Rows
	}
	require.EqualValues(t, 2, rows["table"])

	if b.Server {
		another := Open(t, open())
		login, err := another.Login(t.Context(), "blog", storage.ReadWrite)
		require.NoError(t, err)
		var used *storage.InUseError
		require.ErrorAs(t, s.Remove(t.Context(), "blog"), &used)
		require.ErrorContains(t, used, "fix: ")
		require.NoError(t, login.Close(t.Context()))
		defer fill(another, "blog") // it has seen the schema before
	}
	for range 2 {
		require.NoError(t, s.Remove(t.Context(), "blog"))
		require.Equal(t, other, b.traces(t, s))
	}
	fill(s, "blog")
	require.NoError(t, s.Remove(t.Context(), "blog"))
	require.NoError(t, s.Remove(t.Context(), "blogger"))
	require.Equal(t, before, b.traces(t, s))
}

// traces are what a server has of all modules, whichever daemon made it.
func (b Backend) traces(t *testing.T, s *storage.Storage) (names []string) {
	t.Helper()
	if !b.Server {
		for _, module := range []string{"blog", "blogger"} {
			parts, err := s.Inspect(t.Context(), module)
			require.NoError(t, err)
			for _, p := range parts {
				names = append(names, p.Kind+" "+p.Name)
			}
		}
		return names
	}
	require.NoError(t, s.Core().Raw("SELECT 'schema ' || nspname FROM pg_namespace UNION ALL "+
		"SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'pd\\_' || (SELECT id FROM installation) || '\\_%' UNION ALL "+
		"SELECT 'module ' || module FROM modules UNION ALL SELECT 'login ' || role FROM logins UNION ALL "+
		"SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'platformd_ledgers'::regnamespace ORDER BY 1").
		Scan(&names).Error)
	return names
}
