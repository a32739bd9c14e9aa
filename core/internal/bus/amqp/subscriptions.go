package amqp

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/storage"
)

// ledgerWait bounds what is asked of the database.
const ledgerWait = 10 * time.Second

// DatabaseLedger is a Ledger in the core's database, which all daemons of an installation share.
type DatabaseLedger struct{ db *gorm.DB }

// NewLedger makes the table, or brings it up to date.
func NewLedger(ctx context.Context, db *gorm.DB) (*DatabaseLedger, error) {
	if err := storage.MigrateCore(db.WithContext(ctx), "amqp", ledgerSteps()...); err != nil {
		return nil, err
	}
	return &DatabaseLedger{db}, nil
}

// row is an Entry as it is stored.
type row struct {
	ID      string // of the subscription
	Module  string
	Pattern string
	Ordered bool
	Going   bool
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return "amqp_subscriptions" }

// All implements Ledger.
func (l *DatabaseLedger) All(ctx context.Context) ([]Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	var rows []row
	if err := l.db.WithContext(ctx).Order("id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read which subscriptions have queues: %w", err)
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = Entry{
			Subscription: bus.Subscription{Module: r.Module, Pattern: r.Pattern, Ordered: r.Ordered}, Going: r.Going,
		}
	}
	return entries, nil
}

// Put implements Ledger.
func (l *DatabaseLedger) Put(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	rows := make([]row, len(entries))
	for i, e := range entries {
		rows[i] = row{ID: e.ID(), Module: e.Module, Pattern: e.Pattern, Ordered: e.Ordered, Going: e.Going}
	}
	if err := l.db.WithContext(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error; err != nil {
		return fmt.Errorf("note which subscriptions have queues: %w", err)
	}
	return nil
}

// Remove implements Ledger.
func (l *DatabaseLedger) Remove(ctx context.Context, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID()
	}
	if err := l.db.WithContext(ctx).Delete(&row{}, "id IN ?", ids).Error; err != nil {
		return fmt.Errorf("note which subscriptions have no queues any more: %w", err)
	}
	return nil
}

func ledgerSteps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_subscriptions", Up: func(tx *gorm.DB) error {
		type amqpSubscription struct {
			ID      string `gorm:"type:text;primaryKey"`
			Module  string `gorm:"type:text;not null"`
			Pattern string `gorm:"type:text;not null"`
			Ordered bool   `gorm:"not null"`
			Going   bool   `gorm:"not null"`
		}
		return tx.Table("amqp_subscriptions").Migrator().CreateTable(&amqpSubscription{})
	}}}
}
