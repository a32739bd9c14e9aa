package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// text is what a client sends as a post.
type text struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

// start runs the blog for a caller who may do everything. It fails unless module.yaml and the code agree.
func start(t *testing.T) *plugintest.Server {
	t.Helper()
	return plugintest.Start(t, newBlog().module(), plugintest.Options{Permissions: []string{"blog.*"}})
}

// write adds a post.
func write(t *testing.T, blog *plugintest.Client, title string) (post Post) {
	t.Helper()
	answer := blog.Post("/posts", text{Title: title, Body: "About " + title + "."})
	require.Equal(t, http.StatusCreated, answer.Status, string(answer.Body))
	answer.JSON(&post)
	return post
}

func TestEveryRouteNeedsItsPermission(t *testing.T) {
	t.Parallel()
	declared, err := manifest.Load("module.yaml")
	require.NoError(t, err)
	blog := start(t)
	somebody := pluginapi.Principal{Kind: "token", ID: "somebody"}
	for _, route := range declared.Routes {
		var others []string
		for _, permission := range declared.Permissions {
			if permission.Name != route.Permission {
				others = append(others, permission.Name)
			}
		}
		require.Len(t, others, 4, "route %s has no permission of its own", route.ID)
		require.Equal(t, http.StatusForbidden, blog.As(somebody, others...).Do(route.Method, route.Path, nil).Status, route.ID)
		require.Equal(t, http.StatusUnauthorized, blog.Anonymous().Do(route.Method, route.Path, nil).Status, route.ID)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	options := plugintest.Options{Permissions: []string{"blog.*"}, Config: map[string]any{"pageSize": 2}}
	blog := plugintest.Start(t, newBlog().module(), options)
	for _, title := range []string{"one", "two", "three"} {
		write(t, blog.Client, title)
	}
	var first page[Post]
	blog.Get("/posts").JSON(&first)
	require.Len(t, first.Items, 2)

	for _, wrong := range []map[string]any{
		{"pageSize": 0}, {"pageSize": 101}, {"pageSize": 2.5}, {"pageSize": "20"}, {"pagesize": 20},
	} {
		_, err := plugintest.Try(t, newBlog().module(), plugintest.Options{Config: wrong})
		require.ErrorContains(t, err, "config.schema.json", "%v", wrong)
	}
}

func TestMigrationsRunOnce(t *testing.T) {
	t.Parallel()
	options := plugintest.Options{Permissions: []string{"blog.*"}, Data: t.TempDir()}
	blog := plugintest.Start(t, newBlog().module(), options)
	post := write(t, blog.Client, "Still here")
	applied := appliedMigrations(t, blog)
	require.Len(t, applied, len(migrations().IDs))
	blog.Stop()

	blog = plugintest.Start(t, newBlog().module(), options)
	require.Equal(t, applied, appliedMigrations(t, blog))
	require.Equal(t, http.StatusOK, blog.Get("/posts/"+post.ID).Status)
}

// appliedMigrations reads the ledger that the platform keeps in the module's database.
func appliedMigrations(t *testing.T, blog *plugintest.Server) (rows []map[string]any) {
	t.Helper()
	own, err := db.Open(t.Context(), blog.Core())
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close(own)) }()
	require.NoError(t, own.Table("platformd_migrations").Order("id").Find(&rows).Error)
	return rows
}

func TestMigrationsCanBeUndone(t *testing.T) {
	t.Parallel()
	blog := start(t)
	write(t, blog.Client, "Soon gone")
	steps, database := migrations(), blog.Core().Database
	blog.Stop()
	for i := range steps.IDs {
		last := steps.IDs[len(steps.IDs)-1-i]
		_, err := steps.Run(t.Context(), database, pluginapi.Step{ID: last, Down: true})
		require.NoError(t, err, last)
	}
	for _, id := range steps.IDs {
		_, err := steps.Run(t.Context(), database, pluginapi.Step{ID: id})
		require.NoError(t, err, id)
	}
}
