package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugins/blog/perm"
)

// Comment is a row of blog_comments and what clients see of it. It goes when its post does.
type Comment struct {
	ID        string    `json:"id"`
	PostID    string    `json:"post_id"`
	Body      string    `json:"body"`
	Author    string    `json:"author"`
	AuthorID  string    `json:"author_id"`
	CreatedAt time.Time `json:"created_at"`
}

func (b *blog) listComments(w http.ResponseWriter, r *http.Request) error {
	window, err := b.readWindow(r)
	if err != nil {
		return err
	}
	post, err := b.findPost(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	var comments []Comment
	err = b.db.WithContext(r.Context()).Where("post_id = ? AND id > ?", post.ID, window.cursor).
		Order("id").Limit(window.limit + 1).Find(&comments).Error
	if err != nil {
		return fmt.Errorf("list comments: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, newPage(comments, window.limit, func(c Comment) string { return c.ID }))
}

func (b *blog) createComment(w http.ResponseWriter, r *http.Request) error {
	comment, err := readComment(r)
	if err != nil {
		return err
	}
	err = b.db.WithContext(r.Context()).Create(&comment).Error
	if errors.Is(err, gorm.ErrForeignKeyViolated) {
		return noPost(comment.PostID)
	}
	if err != nil {
		return fmt.Errorf("save comment: %w", err)
	}
	w.Header().Set("Location", b.url("posts", comment.PostID, "comments", comment.ID))
	return pluginapi.WriteJSON(w, http.StatusCreated, comment)
}

// readComment makes the row that the request asks for.
func readComment(r *http.Request) (Comment, error) {
	var said struct {
		Body string `json:"body"`
	}
	if err := pluginapi.ReadJSON(r, &said); err != nil {
		return Comment{}, err
	}
	if err := checkText("body", said.Body, maxComment); err != nil {
		return Comment{}, err
	}
	id, err := newID()
	author := pluginapi.PrincipalFrom(r.Context())
	return Comment{ID: id, PostID: r.PathValue("id"), Body: said.Body, Author: author.Name, AuthorID: author.ID}, err
}

// deleteComment is for whoever wrote the comment, and for moderators. What these do to others is written down.
func (b *blog) deleteComment(w http.ResponseWriter, r *http.Request) error {
	comment, err := b.findComment(r.Context(), r.PathValue("id"), r.PathValue("comment"))
	if err != nil {
		return err
	}
	own := comment.AuthorID == pluginapi.PrincipalFrom(r.Context()).ID
	if !own {
		if err := b.core.Authz.Require(r.Context(), perm.PostModerate); err != nil {
			return err
		}
	}
	if err := b.db.WithContext(r.Context()).Delete(&comment).Error; err != nil {
		return fmt.Errorf("delete comment: %w", err)
	}
	if !own {
		action := pluginapi.Action{Name: "comment.delete", Resource: "comment/" + comment.ID, Outcome: pluginapi.Done}
		if err := b.core.Audit.Write(r.Context(), action); err != nil {
			b.core.Log.Error("a moderator's deletion is not in the audit log", "comment", comment.ID, "error", err)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (b *blog) findComment(ctx context.Context, post, id string) (comment Comment, err error) {
	err = b.db.WithContext(ctx).Take(&comment, "id = ? AND post_id = ?", id, post).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return Comment{}, status.Errorf(codes.NotFound, "post %q has no comment %q: GET its comments lists those that are", post, id)
	}
	if err != nil {
		return Comment{}, fmt.Errorf("find comment: %w", err)
	}
	return comment, nil
}
