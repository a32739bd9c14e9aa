package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestPostLife(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		ada := blog.As(pluginapi.Principal{Kind: "token", ID: "tok_1", Name: "Ada"}, "blog.*")

		created := ada.Post("/posts", text{Title: "Hello", Body: "First."})
		require.Equal(t, http.StatusCreated, created.Status)
		var post Post
		created.JSON(&post)
		require.Equal(t, "/api/v1/blog/posts/"+post.ID, created.Header.Get("Location"))
		require.Equal(t, []string{"Hello", "First.", "Ada", "tok_1"}, []string{post.Title, post.Body, post.Author, post.AuthorID})
		require.False(t, post.CreatedAt.IsZero())
		require.Equal(t, post.CreatedAt, post.UpdatedAt)

		var read Post
		blog.Get(created.Header.Get("Location")).JSON(&read)
		require.Equal(t, post, read)

		var replaced Post
		blog.Put("/posts/"+post.ID, text{Title: "Hi", Body: "Second."}).JSON(&replaced)
		require.Equal(t, []string{"Hi", "Second.", "Ada"}, []string{replaced.Title, replaced.Body, replaced.Author})
		require.Equal(t, post.CreatedAt, replaced.CreatedAt)
		require.True(t, replaced.UpdatedAt.After(post.UpdatedAt))

		var edited Post
		blog.Patch("/posts/"+post.ID, map[string]string{"title": "Hey"}).JSON(&edited)
		require.Equal(t, []string{"Hey", "Second."}, []string{edited.Title, edited.Body})

		blog.Get("/posts/" + post.ID).JSON(&read)
		require.Equal(t, edited, read)

		require.Equal(t, http.StatusNoContent, blog.Delete("/posts/"+post.ID).Status)
		require.Equal(t, http.StatusNotFound, blog.Get("/posts/"+post.ID).Status)
	})
}

func TestPostThatIsNotThere(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		whole := text{Title: "t", Body: "b"}
		for name, answer := range map[string]*plugintest.Response{
			"get":     blog.Get("/posts/none"),
			"put":     blog.Put("/posts/none", whole),
			"patch":   blog.Patch("/posts/none", whole),
			"delete":  blog.Delete("/posts/none"),
			"comment": blog.Post("/posts/none/comments", map[string]string{"body": "?"}),
			"list":    blog.Get("/posts/none/comments"),
		} {
			require.Equal(t, http.StatusNotFound, answer.Status, name)
			require.Contains(t, answer.Problem().Detail, `no post "none"`, name)
		}
	})
}

func TestPostsMustBeValid(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		post := write(t, blog.Client, "Valid")
		for name, test := range map[string]struct {
			method string // "" = all that write
			body   any
			detail string
		}{
			"not JSON":      {body: `{"title"`, detail: "not the JSON"},
			"no body":       {body: "", detail: "the body is empty"},
			"unknown field": {body: `{"title":"t","body":"b","author":"me"}`, detail: `unknown field "author"`},
			"two values":    {body: `{"title":"t","body":"b"} {}`, detail: "exactly one JSON value"},
			"nothing said":  {body: `{}`, detail: "send title, body or both"},
			"blank title":   {body: text{Title: " \u00a0", Body: "b"}, detail: "title is empty"},
			"blank body":    {body: text{Title: "t", Body: "\n"}, detail: "body is empty"},
			"long title":    {body: text{Title: strings.Repeat("ü", 201), Body: "b"}, detail: "title has 201 characters: use at most 200"},
			"long body":     {body: text{Title: "t", Body: strings.Repeat("x", 100_001)}, detail: "use at most 100000"},
			"two lines":     {body: text{Title: "a\nb", Body: "b"}, detail: "in one line"},
			"zero byte":     {body: text{Title: "t", Body: "a\x00b"}, detail: "zero byte"},
			"title alone":   {method: http.MethodPost, body: `{"title":"t"}`, detail: "needs both"},
			"body alone":    {method: http.MethodPut, body: `{"body":"b","title":null}`, detail: "needs both"},
		} {
			for method, path := range map[string]string{
				http.MethodPost: "/posts", http.MethodPut: "/posts/" + post.ID, http.MethodPatch: "/posts/" + post.ID,
			} {
				if test.method != "" && test.method != method {
					continue
				}
				answer := blog.Do(method, path, test.body)
				require.Equal(t, http.StatusBadRequest, answer.Status, "%s %s: %s", method, name, answer.Body)
				require.Equal(t, "invalid_argument", answer.Problem().Code, "%s %s", method, name)
				require.Contains(t, answer.Problem().Detail, test.detail, "%s %s", method, name)
			}
		}
		longest := text{Title: strings.Repeat("ü", 200), Body: strings.Repeat("x", 100_000)}
		require.Equal(t, http.StatusCreated, blog.Post("/posts", longest).Status)
		require.Equal(t, http.StatusRequestEntityTooLarge, blog.Post("/posts", strings.Repeat(" ", 1<<20+1)).Status)
	})
}

func TestListIsEmptyNotNull(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		require.JSONEq(t, `{"items": [], "next": null}`, string(blog.Get("/posts").Body))
		post := write(t, blog.Client, "Alone")
		require.JSONEq(t, `{"items": [], "next": null}`, string(blog.Get("/posts/"+post.ID+"/comments").Body))
	})
}

func TestListLimits(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		for i := range 101 {
			write(t, blog.Client, fmt.Sprint(i))
		}
		for query, want := range map[string]int{"": 20, "?limit=1": 1, "?limit=100": 100, "?limit=101": 100, "?limit=5000": 100} {
			var got page[Post]
			blog.Get("/posts" + query).JSON(&got)
			require.Len(t, got.Items, want, query)
			require.NotNil(t, got.Next, query)
		}
		for _, query := range []string{"?limit=0", "?limit=-1", "?limit=ten", "?limit=1.5", "?cursor=10", "?cursor=%27%20OR%201=1"} {
			answer := blog.Get("/posts" + query)
			require.Equal(t, http.StatusBadRequest, answer.Status, query)
			require.Equal(t, "invalid_argument", answer.Problem().Code, query)
		}
	})
}

// Whoever walks through the list sees every post that was there when the walk began exactly once, newest first, however many
// are written and deleted meanwhile.
func TestPagesHaveNoGapsAndNoDuplicates(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		before := fill(t, blog, 1000)
		meanwhile := writeMeanwhile(blog)
		var seen []string
		for path, pages := "/posts?limit=33", 1; path != ""; pages++ {
			var got page[Post]
			blog.Get(path).JSON(&got)
			for _, post := range got.Items {
				seen = append(seen, post.ID)
			}
			path = ""
			if got.Next != nil {
				path = "/posts?limit=33&cursor=" + *got.Next
				if pages%2 == 0 { // a cursor outlives its row
					require.Equal(t, http.StatusNoContent, blog.Delete("/posts/"+*got.Next).Status)
				}
			}
		}
		require.Positive(t, meanwhile(), "nothing was written during the walk")

		count := 0
		for i, id := range seen {
			require.True(t, i == 0 || id < seen[i-1], "%s comes after %s", id, seen[max(0, i-1)])
			if before[id] {
				count++
			}
		}
		require.Equal(t, len(before), count)
	})
}

// fill puts n posts into the module's database and returns their ids.
func fill(t *testing.T, blog *plugintest.Server, n int) map[string]bool {
	t.Helper()
	own, err := db.Open(t.Context(), blog.Core())
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close(own)) }()
	posts, ids := make([]Post, n), map[string]bool{}
	for i := range posts {
		posts[i] = Post{Title: fmt.Sprint("Before ", i), Body: "Old."}
		posts[i].ID, err = newID()
		require.NoError(t, err)
		ids[posts[i].ID] = true
	}
	require.NoError(t, own.CreateInBatches(posts, 100).Error)
	return ids
}

// writeMeanwhile adds posts until the function that it returns is called, which tells how many.
func writeMeanwhile(blog *plugintest.Server) (stop func() int) {
	quit, written := make(chan struct{}), 0
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				blog.Post("/posts", text{Title: "Meanwhile", Body: "New."})
				written++
			}
		}
	})
	return func() int {
		close(quit)
		writer.Wait()
		return written
	}
}
