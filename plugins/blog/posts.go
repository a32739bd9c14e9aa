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
	"gorm.io/gorm/clause"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

// Post is a row of blog_posts and what clients see of it.
type Post struct {
	ID        string    `json:"id"`
	Title     string    `json:"title"`
	Body      string    `json:"body"`
	Author    string    `json:"author"`    // the author's name when the post was written
	AuthorID  string    `json:"author_id"` // the principal, which stays the same when the name changes
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func (b *blog) listPosts(w http.ResponseWriter, r *http.Request) error {
	window, err := b.readWindow(r)
	if err != nil {
		return err
	}
	query := b.db.WithContext(r.Context()).Order("id DESC").Limit(window.limit + 1)
	if window.cursor != "" {
		query = query.Where("id < ?", window.cursor)
	}
	var posts []Post
	if err := query.Find(&posts).Error; err != nil {
		return fmt.Errorf("list posts: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, newPage(posts, window.limit, func(p Post) string { return p.ID }))
}

func (b *blog) createPost(w http.ResponseWriter, r *http.Request) error {
	draft, err := readWholeDraft(r)
	if err != nil {
		return err
	}
	id, err := newID()
	if err != nil {
		return err
	}
	author := pluginapi.PrincipalFrom(r.Context())
	post := Post{ID: id, Title: *draft.Title, Body: *draft.Body, Author: author.Name, AuthorID: author.ID}
	save := func(ctx context.Context) error { return b.savePost(ctx, &post) }
	if err := b.allowances.write(r.Context(), author.ID, save); err != nil {
		return err
	}
	b.feed.publish(post) // after the commit: nobody hears of a post that is not there
	w.Header().Set("Location", b.url("posts", post.ID))
	return pluginapi.WriteJSON(w, http.StatusCreated, post)
}

func (b *blog) savePost(ctx context.Context, post *Post) error {
	err := b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(post).Error; err != nil {
			return err
		}
		return announce(tx, postCreated, post)
	})
	if err != nil {
		return fmt.Errorf("save post: %w", err)
	}
	return nil
}

func (b *blog) getPost(w http.ResponseWriter, r *http.Request) error {
	post, err := b.findPost(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, post)
}

func (b *blog) replacePost(w http.ResponseWriter, r *http.Request) error {
	draft, err := readWholeDraft(r)
	if err != nil {
		return err
	}
	return b.updatePost(w, r, draft)
}

func (b *blog) editPost(w http.ResponseWriter, r *http.Request) error {
	draft, err := readDraft(r)
	if err != nil {
		return err
	}
	return b.updatePost(w, r, draft)
}

// updatePost writes only what the draft names, so that two clients who change different fields do not undo each other.
func (b *blog) updatePost(w http.ResponseWriter, r *http.Request, d draft) error {
	post := Post{ID: r.PathValue("id")}
	err := b.db.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		result := tx.Model(&post).Clauses(clause.Returning{}).Updates(d.columns())
		if result.Error != nil {
			return fmt.Errorf("update post: %w", result.Error)
		}
		if result.RowsAffected == 0 {
			return noPost(post.ID)
		}
		return announce(tx, postUpdated, &post)
	})
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, post)
}

func (b *blog) deletePost(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	post, err := find(b.db.WithContext(r.Context()).Select("author_id"), id)
	if err != nil {
		return err
	}
	remove := func(ctx context.Context) error { return b.removePost(ctx, id) }
	if err := b.allowances.remove(r.Context(), post.AuthorID, remove); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (b *blog) removePost(ctx context.Context, id string) error {
	post := Post{ID: id}
	return b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		result := tx.Clauses(clause.Returning{}).Delete(&post)
		if result.Error != nil {
			return fmt.Errorf("delete post: %w", result.Error)
		}
		if result.RowsAffected == 0 {
			return noPost(id)
		}
		return announce(tx, postDeleted, &post)
	})
}

func (b *blog) findPost(ctx context.Context, id string) (Post, error) {
	return find(b.db.WithContext(ctx), id)
}

func find(db *gorm.DB, id string) (post Post, err error) {
	err = db.Take(&post, "id = ?", id).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return Post{}, noPost(id)
	}
	if err != nil {
		return Post{}, fmt.Errorf("find post: %w", err)
	}
	return post, nil
}

func noPost(id string) error {
	return status.Errorf(codes.NotFound, "there is no post %q: GET posts lists those that are", id)
}
