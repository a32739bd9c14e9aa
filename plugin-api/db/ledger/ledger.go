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

// IDsOf returns the ids of declared, in their order.
func IDsOf(declared []Declared) []string {
	ids := make([]string, len(declared))
	for i, d := range declared {
		ids[i] = d.ID
	}
	return ids
}

// Declared is one migration as the module declares it.
type Declared struct {
	ID       string
	Checksum string // as in Row
}

// Ensure makes the table if there is none, and adds the columns that an older platformd did not know.
func Ensure(tx *gorm.DB, table string) error {
	exists, err := exists(tx, table)
	if err != nil {
		return err
	}
	if !exists {
		err = tx.Table(table).Migrator().CreateTable(&Row{})
	} else if tx.Name() == sqliteName {
		err = addColumns(tx, table)
	}
	if err != nil {
		return fmt.Errorf("make the migration ledger: %w", err)
	}
	return nil
}

// sqliteName is what GORM calls the dialect of the one kind of ledger that may be older than this code: PostgreSQL's came later.
const sqliteName = "sqlite"

// laterColumns are those that the first ledgers did not have.
var laterColumns = []string{"checksum", "unfinished", "progress"}

func addColumns(tx *gorm.DB, table string) error {
	has, err := columns(tx, table)
	if err != nil {
		return err
	}
	for _, column := range laterColumns {
		if slices.Contains(has, column) {
			continue
		}
		if err := tx.Table(table).Migrator().AddColumn(&Row{}, column); err != nil {
			return err
		}
	}
	return nil
}

func columns(tx *gorm.DB, table string) (names []string, err error) {
	err = tx.Raw("SELECT name FROM pragma_table_info(?)", table).Scan(&names).Error
	return names, err
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
	later, err := selectLater(tx, table)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Table(table).Select("position, substr(id, 1, ?), applied_at, duration_ms, "+later, maxID+1).
		Order("position").Rows()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var row Row
		if err := rows.Scan(&row.Position, &row.ID, &row.AppliedAt, &row.DurationMS,
			&row.Checksum, &row.Unfinished, &row.Progress); err != nil {
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

// selectLater is the columns that the first ledgers did not have, or what stands for them.
func selectLater(tx *gorm.DB, table string) (string, error) {
	if tx.Name() == sqliteName {
		has, err := columns(tx, table)
		if err != nil {
			return "", err
		}
		if !slices.Contains(has, laterColumns[len(laterColumns)-1]) {
			return "'', false, 0", nil
		}
	}
	return "substr(checksum, 1, 64), unfinished, progress", nil
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

// exists does not ask Migrator().HasTable, which takes every error for "no". A view is no ledger: it could run functions.
func exists(tx *gorm.DB, table string) (found bool, err error) {
	query := "SELECT count(*) > 0 FROM pg_catalog.pg_class WHERE oid = to_regclass(?) AND relkind IN ('r', 'p')"
	if tx.Name() == sqliteName {
		query = "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = ?"
	}
	if err := tx.Raw(query, table).Scan(&found).Error; err != nil {
		return false, fmt.Errorf("look for the migration ledger: %w", err)
	}
	return found, nil
}
