package main

import (
	"context"
	"net/url"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

// config is what an operator may set under modules.overrides.blog.config; config.schema.json describes it.
type config struct {
	PageSize int `json:"pageSize"`
}

// blog is the module's state. What start sets does not change afterwards, so that handlers may run concurrently.
type blog struct {
	config     config
	core       *pluginapi.Core
	db         *gorm.DB
	feed       *hub
	allowances *allowances
	root       string        // where the module's routes begin
	heartbeat  time.Duration // of the feed
}

func newBlog() *blog {
	return &blog{config: config{PageSize: 20}, feed: newHub(), heartbeat: 15 * time.Second}
}

// module lists what module.yaml declares; the core compares the two at every start.
func (b *blog) module() pluginapi.Module {
	return pluginapi.Module{
		Routes: map[string]pluginapi.Handler{
			"listPosts":     b.listPosts,
			"createPost":    b.createPost,
			"getPost":       b.getPost,
			"replacePost":   b.replacePost,
			"editPost":      b.editPost,
			"deletePost":    b.deletePost,
			"listComments":  b.listComments,
			"createComment": b.createComment,
			"deleteComment": b.deleteComment,
			"getAllowance":  b.getAllowance,
			"feed":          b.followFeed,
		},
		Migrations: migrations(),
		Init:       b.start,
		Drain:      b.drain,
		Stop:       b.stop,
		Health:     func(ctx context.Context) error { return db.Health(ctx, b.db) },
	}
}

func (b *blog) start(ctx context.Context, core *pluginapi.Core) (err error) {
	if err := core.Config(&b.config); err != nil {
		return err
	}
	b.core, b.root = core, "/api/v1/"+core.Name
	if b.db, err = db.Open(ctx, core); err != nil {
		return err
	}
	b.allowances = newAllowances(b.db, billingv1.NewBillingServiceClient(core.Module("billing")))
	return nil
}

// drain ends what would never end by itself: the feeds.
func (b *blog) drain(context.Context) error {
	b.feed.close()
	return nil
}

func (b *blog) stop(context.Context) error { return db.Close(b.db) }

// url is the address of one of the module's things, for a Location header.
func (b *blog) url(parts ...string) string {
	address, _ := url.JoinPath(b.root, parts...) // root has no scheme or escapes that could be wrong
	return address
}

// newID returns an id that sorts after all earlier ones of this process: lists are ordered by id, so that a new row never
// shifts the pages that a client still has to read.
func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}
