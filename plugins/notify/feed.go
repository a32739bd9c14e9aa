package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

const (
	feedSize = 50  // unless the client names a limit
	maxFeed  = 500 // bounds what one answer holds
)

// Item is a row of notify_items and what clients see of it.
type Item struct {
	Seq     int64     `json:"-" gorm:"primaryKey;autoIncrement"`
	ID      string    `json:"id"`
	Type    string    `json:"type"`
	Source  string    `json:"source"`
	Subject string    `json:"subject"`
	Time    time.Time `json:"time"`
}

// remember puts an event into the feed. Events may come more than once: Once makes one item of them.
func (n *notify) remember(ctx context.Context, e pluginapi.Event) error {
	return db.Once(ctx, n.db, e, func(tx *gorm.DB) error {
		return tx.Create(&Item{ID: e.ID, Type: e.Type, Source: e.Source, Subject: e.Subject, Time: e.Time}).Error
	})
}

// feed answers ?limit= items, the newest first, of one ?type= if that is set.
func (n *notify) feed(w http.ResponseWriter, r *http.Request) error {
	limit, err := readLimit(r.URL.Query().Get("limit"))
	if err != nil {
		return err
	}
	query := n.db.WithContext(r.Context()).Order("seq DESC").Limit(limit)
	if kind := r.URL.Query().Get("type"); kind != "" {
		query = query.Where("type = ?", kind)
	}
	items := []Item{}
	if err := query.Find(&items).Error; err != nil {
		return fmt.Errorf("read the feed: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, map[string]any{"items": items})
}

func readLimit(text string) (int, error) {
	if text == "" {
		return feedSize, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxFeed {
		return 0, status.Errorf(codes.InvalidArgument, "limit %q is not a number of items: use 1 to %d", text, maxFeed)
	}
	return limit, nil
}
