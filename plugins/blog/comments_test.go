package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
	"github.com/platformd/platformd/plugins/blog/perm"
)

func TestCommentLife(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		comments := "/posts/" + write(t, blog.Client, "Commented").ID + "/comments"
		bob := blog.As(pluginapi.Principal{Kind: "token", ID: "tok_2", Name: "Bob"}, perm.PostCreate)

		answer := bob.Post(comments, map[string]string{"body": "First!"})
		require.Equal(t, http.StatusCreated, answer.Status)
		var comment Comment
		answer.JSON(&comment)
		require.Equal(t, "/api/v1/blog"+comments+"/"+comment.ID, answer.Header.Get("Location"))
		require.Equal(t, []string{"First!", "Bob", "tok_2"}, []string{comment.Body, comment.Author, comment.AuthorID})

		var list page[Comment]
		blog.Get(comments).JSON(&list)
		require.Equal(t, []Comment{comment}, list.Items)

		require.Equal(t, http.StatusUnauthorized, blog.Anonymous().Delete(comments+"/"+comment.ID).Status)
		require.Equal(t, http.StatusNoContent, bob.Delete(comments+"/"+comment.ID).Status, "his own")
		require.Equal(t, http.StatusNotFound, bob.Delete(comments+"/"+comment.ID).Status)
		require.Empty(t, blog.Written())
	})
}

// TestModeration: others' comments are the moderators' to delete, and what they do is written down.
func TestModeration(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		comments := "/posts/" + write(t, blog.Client, "Commented").ID + "/comments"
		var comment Comment
		blog.Post(comments, map[string]string{"body": "First!"}).JSON(&comment)

		author := blog.As(pluginapi.Principal{Kind: "user", ID: "u_2", Name: "Bob"}, perm.PostCreate, perm.PostDelete)
		refused := author.Delete(comments + "/" + comment.ID)
		require.Equal(t, http.StatusForbidden, refused.Status)
		require.Contains(t, string(refused.Body), perm.PostModerate)
		require.Empty(t, blog.Written())

		moderator := blog.As(pluginapi.Principal{Kind: "user", ID: "u_3", Name: "Mo"}, perm.PostModerate)
		require.Equal(t, http.StatusNoContent, moderator.Delete(comments+"/"+comment.ID).Status)
		require.Equal(t, []plugintest.Written{{
			Principal: pluginapi.Principal{Kind: "user", ID: "u_3", Name: "Mo"},
			Action:    pluginapi.Action{Name: "comment.delete", Resource: "comment/" + comment.ID, Outcome: pluginapi.Done},
		}}, blog.Written())
	})
}

func TestCommentsAreListedInOrder(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		comments := "/posts/" + write(t, blog.Client, "Popular").ID + "/comments"
		var want, got []string
		for i := range 7 {
			want = append(want, fmt.Sprint(i))
			require.Equal(t, http.StatusCreated, blog.Post(comments, map[string]string{"body": want[i]}).Status)
		}
		for path := comments + "?limit=3"; path != ""; {
			var list page[Comment]
			blog.Get(path).JSON(&list)
			for _, comment := range list.Items {
				got = append(got, comment.Body)
			}
			path = ""
			if list.Next != nil {
				path = comments + "?limit=3&cursor=" + *list.Next
			}
		}
		require.Equal(t, want, got)
	})
}

func TestCommentsBelongToTheirPost(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		one, other := write(t, blog.Client, "One"), write(t, blog.Client, "Other")
		var comment Comment
		blog.Post("/posts/"+one.ID+"/comments", map[string]string{"body": "On one."}).JSON(&comment)

		var list page[Comment]
		blog.Get("/posts/" + other.ID + "/comments").JSON(&list)
		require.Empty(t, list.Items)
		require.Equal(t, http.StatusNotFound, blog.Delete("/posts/"+other.ID+"/comments/"+comment.ID).Status)

		require.Equal(t, http.StatusNoContent, blog.Delete("/posts/"+one.ID).Status)
		require.Equal(t, http.StatusNotFound, blog.Get("/posts/"+one.ID+"/comments").Status)
		require.Equal(t, http.StatusNotFound, blog.Delete("/posts/"+one.ID+"/comments/"+comment.ID).Status, "it went with its post")
	})
}

func TestCommentsMustBeValid(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		comments := "/posts/" + write(t, blog.Client, "Commented").ID + "/comments"
		for name, body := range map[string]any{
			"blank":         map[string]string{"body": " "},
			"too long":      map[string]string{"body": strings.Repeat("x", 5001)},
			"unknown field": map[string]string{"body": "b", "title": "t"},
			"not an object": `[]`,
		} {
			answer := blog.Post(comments, body)
			require.Equal(t, http.StatusBadRequest, answer.Status, name)
			require.Equal(t, "invalid_argument", answer.Problem().Code, name)
		}
		require.Equal(t, http.StatusRequestEntityTooLarge, blog.Post(comments, strings.Repeat(" ", 64<<10+1)).Status)
	})
}
