package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// A path may name what no database can hold. It names nothing then, or is wrong; the module is not.
func TestPathsThatNotEveryDatabaseTakes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		for _, id := range []string{"%00", "a%00b", "%ff", "%C3%28", "%F0%9F%92%A9", "'", "%25", "x%27%20OR%20%271%27=%271"} {
			for name, answer := range map[string]*plugintest.Response{
				"get":    blog.Get("/posts/" + id),
				"put":    blog.Put("/posts/"+id, text{Title: "t", Body: "b"}),
				"delete": blog.Delete("/posts/" + id),
				"list":   blog.Get("/posts/" + id + "/comments"),
			} {
				require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, answer.Status, "%s %s: %s", name, id, answer.Body)
			}
		}
	})
}
