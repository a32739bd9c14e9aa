package amqp

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

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

// declaredRow is a subscription that has a queue on the broker.
type declaredRow struct {
	Module  string
	Pattern string
	Ordered bool
}

// TableName implements gorm's schema.Tabler.
func (declaredRow) TableName() string { return "amqp_subscriptions" }

// Get implements Ledger.
func (l *DatabaseLedger) Get(ctx context.Context, module string) ([]bus.Subscription, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	var rows []declaredRow
	if err := l.db.WithContext(ctx).Order("pattern").Find(&rows, "module = ?", module).Error; err != nil {
		return nil, fmt.Errorf("read which queues module %s has: %w", module, err)
	}
	subscriptions := make([]bus.Subscription, len(rows))
	for i, r := range rows {
		subscriptions[i] = bus.Subscription(r)
	}
	return subscriptions, nil
}

// Put implements Ledger.
func (l *DatabaseLedger) Put(ctx context.Context, module string, subscriptions []bus.Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	err := l.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Delete(&declaredRow{}, "module = ?", module).Error; err != nil {
			return err
		}
		for _, s := range subscriptions {
			row := declaredRow(s)
			if err := tx.Create(&row).Error; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note which queues module %s has: %w", module, err)
	}
	return nil
}

func ledgerSteps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_subscriptions", Up: func(tx *gorm.DB) error {
		type amqpSubscription struct {
			Module  string `gorm:"type:text;primaryKey"`
			Pattern string `gorm:"type:text;primaryKey"`
			Ordered bool   `gorm:"not null"`
		}
		return tx.Table("amqp_subscriptions").Migrator().CreateTable(&amqpSubscription{})
	}}}
}
