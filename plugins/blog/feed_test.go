package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// follow opens the feed and waits until it is sure to bring what is written from now on.
func follow(t *testing.T, blog *plugintest.Server) *plugintest.Events {
	t.Helper()
	feed := blog.Follow("/feed")
	event, ok := feed.Next()
	require.True(t, ok)
	require.Equal(t, "new posts follow", event.Comment)
	return feed
}

func TestFeedBringsNewPosts(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		write(t, blog.Client, "Before")
		readers := []*plugintest.Events{follow(t, blog), follow(t, blog)}
		for _, title := range []string{"One", "Two\u2028"} {
			post := write(t, blog.Client, title)
			for _, feed := range readers {
				event, ok := feed.Next()
				require.True(t, ok)
				require.Equal(t, "post", event.Name)
				require.Equal(t, post.ID, event.ID)
				var got Post
				require.NoError(t, json.Unmarshal([]byte(event.Data), &got))
				require.Equal(t, post, got)
			}
		}
	})
}

func TestFeedHeartbeat(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		quick := newBlog()
		require.Equal(t, 15*time.Second, quick.heartbeat)
		quick.heartbeat = time.Millisecond
		blog := plugintest.Start(t, quick.module(), allowed(database))
		feed := follow(t, blog)
		for range 3 {
			event, ok := feed.Next()
			require.True(t, ok)
			require.Equal(t, plugintest.Event{Comment: "still here"}, event)
		}
	})
}

func TestFeedForgetsWhoLeaves(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		module := newBlog()
		blog := plugintest.Start(t, module.module(), allowed(database))
		feed := follow(t, blog)
		require.Equal(t, 1, module.feed.size())
		feed.Close()
		require.Eventually(t, func() bool { return module.feed.size() == 0 }, 10*time.Second, time.Millisecond)
	})
}

func TestFeedEndsWhenTheModuleDrains(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		blog := start(t, database)
		feed := follow(t, blog)
		blog.Stop() // fails the test if the feed keeps it waiting
		_, ok := feed.Next()
		require.False(t, ok)
	})
}

// A reader that takes nothing is dropped; neither the writers nor the other readers wait for it.
func TestFeedDropsASlowReader(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		module := newBlog()
		module.heartbeat = time.Hour // it would count as a post where the machine is slow
		blog := plugintest.Start(t, module.module(), allowed(database))
		slow, quick := follow(t, blog), follow(t, blog)
		body := strings.Repeat("x", maxBody)
		posts := 0
		for module.feed.size() == 2 { // what the slow one is sent fills one buffer after the other on the way
			require.Less(t, posts, 1000, "nobody is dropped")
			require.Equal(t, http.StatusCreated, blog.Post("/posts", text{Title: fmt.Sprint(posts), Body: body}).Status)
			_, ok := quick.Next()
			require.True(t, ok, "post %d", posts)
			posts++
		}
		received := 0
		for _, ok := slow.Next(); ok; _, ok = slow.Next() {
			received++
		}
		require.Less(t, received, posts)
		write(t, blog.Client, "Afterwards")
		_, ok := quick.Next()
		require.True(t, ok, "the other reader goes on")
	})
}

func TestHub(t *testing.T) {
	t.Parallel()
	h := newHub()
	posts, leave := h.join()
	for i := range backlog {
		h.publish(Post{Title: fmt.Sprint(i)})
	}
	require.Equal(t, 1, h.size())
	h.publish(Post{Title: "one too many"})
	require.Equal(t, 0, h.size())
	for i := range backlog {
		require.Equal(t, fmt.Sprint(i), (<-posts).Title, "what was accepted is delivered")
	}
	_, open := <-posts
	require.False(t, open)
	leave() // after having been dropped

	posts, leave = h.join()
	leave()
	leave()
	_, open = <-posts
	require.False(t, open)

	posts, _ = h.join()
	h.close()
	h.close()
	_, open = <-posts
	require.False(t, open)
	late, leave := h.join()
	_, open = <-late
	require.False(t, open)
	leave()
	h.publish(Post{})
}

// size is how many readers there are.
func (h *hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}
