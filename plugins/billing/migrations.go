package main

import (
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

// migrations are applied in this order, each once and for ever: add steps, never change one that was released. Each step
// declares its own structs, because Plan and Subscription will change and the past must not change with them.
func migrations() *pluginapi.Migrations {
	return db.Migrations(
		db.Migration{ID: "0001_plans", Up: createPlans, Down: dropPlans},
		db.Migration{ID: "0002_subscriptions", Up: createSubscriptions, Down: dropSubscriptions},
		db.Migration{ID: "0003_default_plan", Up: addDefaultPlan, Down: removeDefaultPlan},
		db.Migration{ID: "0004_usages", Up: createUsages, Down: dropUsages},
	)
}

func createPlans(tx *gorm.DB) error {
	type Plan struct {
		ID         string    `gorm:"primaryKey;size:36"`
		Name       string    `gorm:"size:100;not null;uniqueIndex:,where:deleted_at IS NULL"` // a deleted plan gives its name free
		PriceCents int64     `gorm:"not null;check:price_cents >= 0"`
		Currency   string    `gorm:"size:3;not null"`
		PostLimit  int64     `gorm:"not null;check:post_limit > 0"`
		CreatedAt  time.Time `gorm:"not null"`
		UpdatedAt  time.Time `gorm:"not null"`
		DeletedAt  gorm.DeletedAt
	}
	return tx.Migrator().CreateTable(&Plan{})
}

func dropPlans(tx *gorm.DB) error {
	type Plan struct{ ID string }
	return tx.Migrator().DropTable(&Plan{})
}

func createSubscriptions(tx *gorm.DB) error {
	type Plan struct {
		ID string `gorm:"primaryKey;size:36"`
	}
	type Subscription struct {
		ID         string    `gorm:"primaryKey;size:36"`
		PlanID     string    `gorm:"size:36;not null;index"`
		Plan       Plan      `gorm:"constraint:OnDelete:RESTRICT"`
		Subject    string    `gorm:"size:200;not null;uniqueIndex:,where:status = 'active'"` // one active subscription each
		Status     string    `gorm:"size:20;not null"`
		CreatedAt  time.Time `gorm:"not null"`
		CanceledAt *time.Time
	}
	return tx.Migrator().CreateTable(&Subscription{})
}

func dropSubscriptions(tx *gorm.DB) error {
	type Subscription struct{ ID string }
	return tx.Migrator().DropTable(&Subscription{})
}

// addDefaultPlan makes the plan of everybody without a subscription.
func addDefaultPlan(tx *gorm.DB) error {
	type Plan struct {
		ID, Name             string
		PriceCents           int64
		Currency             string
		PostLimit            int64
		CreatedAt, UpdatedAt time.Time
	}
	return tx.Create(&Plan{ID: "default", Name: "Default", Currency: "EUR", PostLimit: 10_000}).Error
}

func removeDefaultPlan(tx *gorm.DB) error {
	type Plan struct{ ID string }
	return tx.Delete(&Plan{}, "id = ?", "default").Error
}

func createUsages(tx *gorm.DB) error {
	type Usage struct {
		Subject string `gorm:"primaryKey;size:255"`
		Posts   int64  `gorm:"not null"`
	}
	return tx.Migrator().CreateTable(&Usage{})
}

func dropUsages(tx *gorm.DB) error {
	type Usage struct{ Subject string }
	return tx.Migrator().DropTable(&Usage{})
}
