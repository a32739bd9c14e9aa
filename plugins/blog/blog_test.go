package main

import (
	"cmp"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/ledger"
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
func start(t *testing.T, database *plugintest.Database) *plugintest.Server {
	t.Helper()
	return plugintest.Start(t, newBlog().module(), allowed(database))
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
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		declared, err := manifest.Load("module.yaml")
		require.NoError(t, err)
		blog := start(t, database)
		somebody := pluginapi.Principal{Kind: "token", ID: "somebody"}
		for _, route := range declared.Routes {
			require.Equal(t, http.StatusUnauthorized, blog.Anonymous().Do(route.Method, route.Path, nil).Status, route.ID)
			if route.ID == "deleteComment" {
				continue // it finds out itself who may: see TestModeration
			}
			var others []string
			for _, permission := range declared.Permissions {
				if permission.Name != route.Permission {
					others = append(others, permission.Name)
				}
			}
			require.Len(t, others, 4, "route %s has no permission of its own", route.ID)
			require.Equal(t, http.StatusForbidden, blog.As(somebody, others...).Do(route.Method, route.Path, nil).Status, route.ID)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		options := allowed(database)
		options.Config = map[string]any{"pageSize": 2}
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
			_, err := plugintest.Try(t, newBlog().module(), plugintest.Options{Config: wrong, Database: database})
			require.ErrorContains(t, err, "config.schema.json", "%v", wrong)
		}
	})
}

func TestMigrationsRunOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		options := allowed(database)
		blog := plugintest.Start(t, newBlog().module(), options)
		post := write(t, blog.Client, "Still here")
		applied := appliedMigrations(t, database)
		require.Len(t, applied, len(migrations().IDs))
		blog.Stop()

		blog = plugintest.Start(t, newBlog().module(), options)
		require.Equal(t, applied, appliedMigrations(t, database))
		require.Equal(t, http.StatusOK, blog.Get("/posts/"+post.ID).Status)
	})
}

// appliedMigrations reads the ledger that the platform keeps of the module's database.
func appliedMigrations(t *testing.T, database *plugintest.Database) []ledger.Row {
	t.Helper()
	own, err := db.Open(t.Context(), &pluginapi.Core{Name: "blog", Database: database.Migrations})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close(own)) }()
	rows, err := ledger.Read(own, cmp.Or(database.Migrations.Ledger, ledger.Table))
	require.NoError(t, err)
	return rows
}

func TestMigrationsCanBeUndone(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		write(t, blog.Client, "Soon gone")
		steps := migrations()
		blog.Stop()
		for i := range steps.IDs {
			last := steps.IDs[len(steps.IDs)-1-i]
			_, err := steps.Run(t.Context(), database.Migrations, pluginapi.Step{ID: last, Down: true})
			require.NoError(t, err, last)
		}
		for _, id := range steps.IDs {
			_, err := steps.Run(t.Context(), database.Migrations, pluginapi.Step{ID: id})
			require.NoError(t, err, id)
		}
	})
}

func TestHealthIsThatOfTheDatabase(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		state := newBlog()
		health := state.module().Health
		require.NoError(t, health(t.Context()), "before Init there is nothing to ask")
		plugintest.Start(t, state.module(), allowed(database))
		require.NoError(t, health(t.Context()))
		require.NoError(t, db.Close(state.db))
		require.ErrorContains(t, health(t.Context()), "the database does not answer")
	})
}

// allowed is a caller who may do everything, on the given database.
func allowed(database *plugintest.Database) plugintest.Options {
	return plugintest.Options{Permissions: []string{"blog.*"}, Database: database, Provide: billingOf(&plan{limit: 10_000})}
}
