package pgserver

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	server, err := Connect(t.Context())
	if err != nil {
		t.Skip(err)
	}
	version, err := server.Version(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^[0-9]+[0-9.]*$`, version)

	plain, err := server.Create(t.Context())
	require.NoError(t, err)
	used, err := server.Create(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, plain, used)

	// What a platform leaves: its name, and roles that begin with it.
	db, err := postgres.Open(t.Context(), used, postgres.Options{MaxConns: 1})
	require.NoError(t, err)
	const role = "pd_benchtest_blog_rw"
	for _, statement := range []string{
		"CREATE SCHEMA platformd", "CREATE TABLE platformd.installation (id text)",
		"INSERT INTO platformd.installation VALUES ('benchtest')", "DROP ROLE IF EXISTS " + role, "CREATE ROLE " + role,
	} {
		require.NoError(t, db.Exec(statement).Error, statement)
	}
	require.NoError(t, postgres.Close(db))

	made := server.made
	require.NoError(t, server.Close())
	again, err := Connect(t.Context())
	require.NoError(t, err)
	var databases, roles []string
	require.NoError(t, again.admin.Raw("SELECT datname FROM pg_database WHERE datname IN ?", made).Scan(&databases).Error)
	require.NoError(t, again.admin.Raw("SELECT rolname FROM pg_roles WHERE rolname = ?", role).Scan(&roles).Error)
	require.Empty(t, databases)
	require.Empty(t, roles)
	require.NoError(t, again.Close())
}
