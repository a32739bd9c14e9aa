package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestPostsAreAnnounced(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		var post Post
		blog.Post("/posts", map[string]string{"title": "Hello", "body": "secret"}).JSON(&post)
		require.Equal(t, http.StatusOK, blog.Patch("/posts/"+post.ID, map[string]string{"title": "Hi"}).Status)
		require.Equal(t, http.StatusNoContent, blog.Delete("/posts/"+post.ID).Status)
		require.Equal(t, http.StatusNotFound, blog.Delete("/posts/"+post.ID).Status)
		require.Equal(t, http.StatusNotFound, blog.Patch("/posts/"+post.ID, map[string]string{"title": "Hi"}).Status)
		require.Equal(t, http.StatusBadRequest, blog.Post("/posts", map[string]string{"title": "Hello"}).Status)

		published := blog.Published()
		require.Len(t, published, 3, "what fails is not announced")
		for i, want := range []struct{ kind, data string }{
			{postCreated, `{"id":"` + post.ID + `","title":"Hello","author_id":"` + post.AuthorID + `"}`},
			{postUpdated, `{"id":"` + post.ID + `","title":"Hi","author_id":"` + post.AuthorID + `"}`},
			{postDeleted, `{"id":"` + post.ID + `","title":"Hi","author_id":"` + post.AuthorID + `"}`},
		} {
			e := published[i]
			require.Equal(t, want.kind, e.Type)
			require.JSONEq(t, want.data, string(e.Data))
			require.Equal(t, post.ID, e.Key)
			require.Equal(t, "posts/"+post.ID, e.Subject)
		}
	})
}
