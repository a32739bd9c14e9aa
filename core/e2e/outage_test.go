package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/pgtest"
)

// TestDataADatabaseThatComesAndGoes: a platform that starts before its database says so and waits; one that loses it says so, and
// goes on when it is back.
func TestDataADatabaseThatComesAndGoes(t *testing.T) {
	t.Parallel()
	var cluster pgtest.Cluster
	t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
	source := cluster.Database(t, pgtest.CreateRole)
	cluster.Down(t)
	dir := newDir(t, "billing", "blog")
	databases.Store(dir, source)
	p := launch(t, dir, options{})
	status := func(path string) int {
		got, err := p.try(http.MethodGet, path, "", "")
		if err != nil {
			return 0
		}
		return got.status
	}
	p.await("the daemon to live", func() bool { return status("/livez") == http.StatusOK })
	p.await("the daemon to say what it waits for", func() bool {
		got := p.do(http.MethodGet, "/readyz?verbose", "", "")
		return got.status == http.StatusServiceUnavailable && strings.Contains(got.body, "start the PostgreSQL server")
	})
	require.Contains(t, p.do(http.MethodGet, "/readyz", "", "").body, "not ready: waiting for the database\n")
	cluster.Require(t)
	p.awaitReady()
	require.Equal(t, http.StatusOK, status("/readyz"), p.log)

	cluster.Down(t)
	p.await("the daemon to miss its database", func() bool { return status("/readyz") == http.StatusServiceUnavailable })
	require.Contains(t, p.do(http.MethodGet, "/readyz", "", "").body, "the database cannot be reached")
	require.Equal(t, http.StatusOK, status("/livez"))
	cluster.Require(t)
	p.await("the daemon to find its database again", func() bool { return status("/readyz") == http.StatusOK })
	p.stop()
	require.NotContains(t, p.log.String(), strings.Split(strings.Split(source, "@")[0], ":")[2], "the password")
}

// TestDataAnUnusableDatabase: what waiting cannot mend is said at once.
func TestDataAnUnusableDatabase(t *testing.T) {
	t.Parallel()
	var cluster pgtest.Cluster
	t.Cleanup(func() { require.NoError(t, cluster.Stop()) })
	source := cluster.Database(t, pgtest.CreateRole)
	for name, test := range map[string]struct{ source, fix string }{
		"wrong password": {strings.Replace(source, "core_test", "somebody", 1), "correct the user and the password in database.url"},
		"no database":    {strings.Replace(source, "/test_", "/none_", 1), "create the database"},
		"no roles":       {cluster.Database(t, pgtest.Plain), "CREATEROLE"},
	} {
		dir := newDir(t)
		databases.Store(dir, test.source)
		p := launch(t, dir, options{})
		<-p.exited
		require.Error(t, p.exitErr, name)
		require.Contains(t, p.log.String(), test.fix, name)
	}
}
