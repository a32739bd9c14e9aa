// Package ledger is the record of the migrations that one database has been through: its table, and the rule that says
// which steps come next. Package db writes it from inside the module, in the same transaction as the step; the core reads
// it to know what is pending.
//
// It must not open a database or run a step.
package ledger

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
)

// Table is the ledger of a database that is the module's alone, such as an SQLite file: one row per applied migration. Its
// name is outside of every module's table prefix. Where modules share a database, each ledger has a name of its own, and lies
// out of the module's reach except for its rows.
const Table = "platformd_migrations"

// maxRows bounds what Read takes from a file that the reader did not write.
const maxRows = 10_000

// Row is one applied migration.
type Row struct {
	// Position counts from 1 in the order of application.
	Position  int       `gorm:"not null"`
	ID        string    `gorm:"primaryKey;size:100"`
	AppliedAt time.Time `gorm:"not null"`
	// Checksum is that of what the step is made of, in hex; empty for Go functions, whose bodies nobody can compare.
	Checksum string `gorm:"size:64;not null;default:''"`
	// Unfinished marks a step that runs outside of a transaction and has not come to its end; Progress counts the statements
	// of it that have. It is always the last row.
	Unfinished bool `gorm:"not null;default:false"`
	Progress   int  `gorm:"not null;default:0"`
	// DurationMS is how long the step took, in milliseconds, without its commit.
	DurationMS int64 `gorm:"column:duration_ms;not null"`
	// Statements is the SQL that ran, without its values. Read leaves it empty, Statements gets it.
	Statements []string `gorm:"type:text;serializer:json;not null"`
}

// Declared is one migration as the module declares it.
type Declared struct {
	ID       string
	Checksum string // as in Row
}

// Ensure makes the table if there is none.
func Ensure(tx *gorm.DB, table string) error {
	exists, err := exists(tx, table)
	if err != nil || exists {
		return err
	}
	if err := tx.Table(table).Migrator().CreateTable(&Row{}); err != nil {
		return fmt.Errorf("make the migration ledger: %w", err)
	}
	return nil
}

// Read returns the applied migrations in order; none if there is no ledger yet. What it reads may have been tampered with
// (a module owns its file): it ends at the first row that cannot be ours, and takes no more than a bounded amount.
func Read(tx *gorm.DB, table string) ([]Row, error) {
	exists, err := exists(tx, table)
	if err != nil || !exists {
		return nil, err
	}
	applied, err := scan(tx, table)
	if err != nil {
		return nil, fmt.Errorf("read the migration ledger: %w", err)
	}
	return applied, nil
}

// scan goes row by row because GORM's Find goes on after an error and keeps them all.
func scan(tx *gorm.DB, table string) (applied []Row, err error) {
	rows, err := tx.Table(table).Select("position, substr(id, 1, ?), applied_at, duration_ms", maxID+1).
		Order("position").Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row Row
		if err := rows.Scan(&row.Position, &row.ID, &row.AppliedAt, &row.DurationMS); err != nil {
			return nil, fmt.Errorf("%w (fix: restore a backup)", err)
		}
		if err := checkID(row.ID); err != nil {
			return nil, fmt.Errorf("%s holds a row that no migration wrote: id %q (fix: restore a backup)", table, row.ID)
		}
		if len(applied) == maxRows {
			return nil, fmt.Errorf("%s has over %d rows (fix: restore a backup)", table, maxRows)
		}
		applied = append(applied, row)
	}
	return applied, rows.Err()
}

// Statements returns what the ledger keeps of one applied migration.
func Statements(tx *gorm.DB, table, id string) ([]string, error) {
	var row Row
	if err := tx.Table(table).Take(&row, "id = ?", id).Error; err != nil {
		return nil, fmt.Errorf("read the migration ledger: %w", err)
	}
	return row.Statements, nil
}

// IDs returns the ids of rows, in their order.
func IDs(rows []Row) []string {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids
}

// exists lists the tables rather than asking Migrator().HasTable, which takes every error for "no".
func exists(tx *gorm.DB, table string) (bool, error) {
	tables, err := tx.Migrator().GetTables()
	if err != nil {
		return false, fmt.Errorf("look for the migration ledger: %w", err)
	}
	return slices.Contains(tables, table), nil
}
