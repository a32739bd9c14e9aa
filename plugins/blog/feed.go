package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// patience is how long a reader may take to accept one event.
const patience = 10 * time.Second

// followFeed sends new posts as server-sent events until the reader goes, falls behind, or the module drains. A reader that
// was away finds what it missed in the list of posts.
func (b *blog) followFeed(w http.ResponseWriter, r *http.Request) error {
	posts, leave := b.feed.join()
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	heartbeat := time.NewTicker(b.heartbeat) // an idle connection would be closed somewhere on the way
	defer heartbeat.Stop()
	event := []byte(": new posts follow\n\n")
	for event != nil {
		if err := send(w, event); err != nil {
			return nil // the reader is gone: there is nobody to tell
		}
		event = nextEvent(r.Context(), posts, heartbeat.C)
	}
	return nil
}

// nextEvent waits for what there is to send; nil means the end.
func nextEvent(ctx context.Context, posts <-chan Post, heartbeat <-chan time.Time) []byte {
	select {
	case <-ctx.Done():
		return nil
	case <-heartbeat:
		return []byte(": still here\n\n")
	case post, open := <-posts:
		if !open {
			return nil
		}
		data, _ := json.Marshal(post) // texts and times always encode; the result holds no line break, which would end the event
		return fmt.Appendf(nil, "id: %s\nevent: post\ndata: %s\n\n", post.ID, data)
	}
}

// send passes one event on at once.
func send(w http.ResponseWriter, event []byte) error {
	stream := http.NewResponseController(w)
	if err := stream.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := w.Write(event); err != nil {
		return err
	}
	return stream.Flush()
}
