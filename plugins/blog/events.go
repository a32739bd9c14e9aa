package main

import (
	"encoding/json"
	"fmt"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

// What other modules hear of posts; module.yaml declares the types.
const (
	postCreated = "blog.post.created"
	postUpdated = "blog.post.updated"
	postDeleted = "blog.post.deleted"
)

// postNews is the data of an event about a post: what others need to know, not the text.
type postNews struct {
	ID       string `json:"id"`
	Title    string `json:"title,omitempty"`
	AuthorID string `json:"author_id,omitempty"`
}

// announce puts an event about a post into the transaction that changes the post: it is published if, and only if, the change is
// kept. Events of one post have its id as their key, so that nobody hears of its end before its beginning.
func announce(tx *gorm.DB, kind string, post *Post) error {
	data, err := json.Marshal(postNews{ID: post.ID, Title: post.Title, AuthorID: post.AuthorID})
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return db.Publish(tx, pluginapi.Event{
		Type: kind, Version: 1, Subject: "posts/" + post.ID, Key: post.ID, Data: data,
	})
}
