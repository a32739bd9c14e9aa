package storage

import (
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// CoreStep is one change to the core's own schema, applied once and for ever: a released step is never edited. Structs that
// Up uses are declared inside of it, frozen, with a TableName of their own.
type CoreStep struct {
	ID string // unique within its component: "0001_tokens"
	Up func(tx *gorm.DB) error
}

// coreMigration is a row of the core's ledger.
type coreMigration struct {
	Component string    `gorm:"primaryKey;size:40"`
	ID        string    `gorm:"primaryKey;size:100"`
	Position  int       `gorm:"not null"`
	AppliedAt time.Time `gorm:"not null"`
}

// TableName implements gorm's schema.Tabler.
func (coreMigration) TableName() string { return "core_migrations" }

// MigrateCore brings the tables of one component of the core (auth, audit, ...) up to date, in one transaction: all of its
// pending steps, or none. A database that a newer binary has changed is refused.
func MigrateCore(db *gorm.DB, component string, steps ...CoreStep) error {
	err := db.Transaction(func(tx *gorm.DB) error {
		applied, err := coreLedger(tx, component)
		if err != nil {
			return err
		}
		pending, err := ledger.Plan(applied, declared(steps))
		if err != nil {
			return err
		}
		for i, step := range steps[len(steps)-len(pending):] {
			row := coreMigration{Component: component, ID: step.ID, Position: len(applied) + i + 1, AppliedAt: tx.NowFunc()}
			if err := applyCore(tx, step, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("migrate the core's tables of %s: %w", component, err)
	}
	return nil
}

func applyCore(tx *gorm.DB, step CoreStep, row coreMigration) error {
	if err := step.Up(tx); err != nil {
		return fmt.Errorf("step %s: %w", step.ID, err)
	}
	return tx.Create(&row).Error
}

func coreLedger(tx *gorm.DB, component string) ([]ledger.Row, error) {
	if err := lockCoreLedger(tx); err != nil {
		return nil, err
	}
	var ids []string
	err := tx.Model(&coreMigration{}).Where("component = ?", component).Order("position").Pluck("id", &ids).Error
	applied := make([]ledger.Row, len(ids))
	for i, id := range ids {
		applied[i] = ledger.Row{ID: id}
	}
	return applied, err
}

// lockCoreLedger lets one daemon at a time migrate. On SQLite it holds the file's write lock already; on PostgreSQL the table is
// there since the database was opened, and only the core has any right to it.
func lockCoreLedger(tx *gorm.DB) error {
	if tx.Name() == backend.PostgreSQL {
		return tx.Exec("LOCK TABLE core_migrations IN EXCLUSIVE MODE").Error
	}
	return tx.AutoMigrate(&coreMigration{})
}

func declared(steps []CoreStep) []ledger.Declared {
	all := make([]ledger.Declared, len(steps))
	for i, step := range steps {
		all[i] = ledger.Declared{ID: step.ID}
	}
	return all
}
