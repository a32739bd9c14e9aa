package sqlite

import (
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// maxViolations bounds how many rows a ForeignKeyError names.
const maxViolations = 20

// Violation is one row whose foreign key leads nowhere.
type Violation struct {
	Table  string // the table of the row
	RowID  *int64 // nil in a table WITHOUT ROWID
	Parent string // the table that lacks the row it refers to
}

// ForeignKeyError names rows that refer to rows which do not exist. It matches gorm.ErrForeignKeyViolated.
type ForeignKeyError struct {
	Violations []Violation // at least one, at most 20
}

// Error implements error.
func (e *ForeignKeyError) Error() string {
	rows := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		rows[i] = fmt.Sprintf("%s row %s -> %s", v.Table, v.row(), v.Parent)
	}
	return fmt.Sprintf("rows refer to rows that do not exist: %s (fix: delete or correct them in the same step)",
		strings.Join(rows, ", "))
}

// Unwrap lets errors.Is find gorm.ErrForeignKeyViolated.
func (e *ForeignKeyError) Unwrap() error { return gorm.ErrForeignKeyViolated }

func (v Violation) row() string {
	if v.RowID == nil {
		return "without rowid"
	}
	return fmt.Sprint(*v.RowID)
}

// CheckForeignKeys looks through every row that tx sees and returns a *ForeignKeyError if a foreign key leads nowhere.
func CheckForeignKeys(tx *gorm.DB) error {
	var found []Violation
	query := `SELECT "table", rowid AS row_id, parent FROM pragma_foreign_key_check LIMIT ?`
	if err := tx.Raw(query, maxViolations).Scan(&found).Error; err != nil {
		return fmt.Errorf("check foreign keys: %w", err)
	}
	if len(found) > 0 {
		return &ForeignKeyError{Violations: found}
	}
	return nil
}
