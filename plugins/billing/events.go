package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

// What other modules hear of subscriptions; module.yaml declares the types.
const (
	subscriptionCreated  = "billing.subscription.created"
	subscriptionCanceled = "billing.subscription.canceled"
)

// subscriptionNews is the data of an event about a subscription.
type subscriptionNews struct {
	ID      string `json:"id"`
	PlanID  string `json:"plan_id"`
	Subject string `json:"subject"`
}

// announce puts an event about a subscription into the transaction that changes it. Events about one subject have an order.
func announce(tx *gorm.DB, kind string, s *Subscription) error {
	data, err := json.Marshal(subscriptionNews{ID: s.ID, PlanID: s.PlanID, Subject: s.Subject})
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return db.Publish(tx, pluginapi.Event{
		Type: kind, Version: 1, Subject: "subscriptions/" + s.ID, Key: s.Subject, Data: data,
	})
}

// countPost adds a post to its author's usage. Events may come more than once: Once counts each post once.
func (b *billing) countPost(ctx context.Context, e pluginapi.Event) error {
	var post struct {
		AuthorID string `json:"author_id"`
	}
	if err := json.Unmarshal(e.Data, &post); err != nil {
		return pluginapi.Drop(fmt.Errorf("read the event's data: %w", err))
	}
	if post.AuthorID == "" {
		return pluginapi.Drop(errors.New("the event names no author"))
	}
	return db.Once(ctx, b.db, e, func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{
			Columns:   []clause.Column{{Name: "subject"}},
			DoUpdates: clause.Assignments(map[string]any{"posts": gorm.Expr("billing_usages.posts + 1")}),
		}).Create(&Usage{Subject: post.AuthorID, Posts: 1}).Error
	})
}
