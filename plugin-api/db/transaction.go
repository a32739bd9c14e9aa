package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// transaction is the one in which a step runs, seen from two sides: own is the platform's, theirs the step's, which is
// recorded and cannot end the transaction.
type transaction struct {
	own, theirs *gorm.DB
	recorder    *recorder
}

func begin(ctx context.Context, db *gorm.DB) (*transaction, error) {
	own := db.Session(&gorm.Session{NewDB: true, Context: ctx}).Begin()
	if own.Error != nil {
		return nil, fmt.Errorf("begin: %w", own.Error)
	}
	pool, ok := own.Statement.ConnPool.(gorm.Tx)
	if !ok {
		own.Rollback()
		return nil, errors.New("begin: GORM did not make a transaction")
	}
	t := &transaction{own: own, recorder: &recorder{Tx: pool}}
	t.theirs = own.Session(&gorm.Session{NewDB: true, Context: ctx}) // Context: else the two share a Statement
	t.theirs.Statement.ConnPool = t.recorder
	return t, nil
}

// rollback does nothing after a commit. Its error is dropped: the one that led here says more.
func (t *transaction) rollback() { t.own.Rollback() }

func (t *transaction) applied() ([]string, error) {
	if err := ledger.Ensure(t.own); err != nil {
		return nil, err
	}
	rows, err := ledger.Read(t.own)
	return ledger.IDs(rows), err
}

// apply makes the change, checks what it left, moves the ledger and commits.
func (t *transaction) apply(step pluginapi.Step, change func(*gorm.DB) error, position int) ([]string, error) {
	start := time.Now()
	if err := t.recorder.verdict(change(t.theirs)); err != nil {
		return nil, err
	}
	if err := sqlite.CheckForeignKeys(t.own); err != nil {
		return nil, err
	}
	row := ledger.Row{
		Position: position, ID: step.ID, AppliedAt: t.own.NowFunc(),
		DurationMS: time.Since(start).Milliseconds(), Statements: t.recorder.statements(),
	}
	if err := t.record(row, step.Down); err != nil {
		return nil, err
	}
	if err := t.own.Commit().Error; err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return row.Statements, nil
}

func (t *transaction) record(row ledger.Row, down bool) error {
	done := t.own.Create
	if down {
		done = func(any) *gorm.DB { return t.own.Delete(&ledger.Row{}, "id = ?", row.ID) }
	}
	if err := done(&row).Error; err != nil {
		return fmt.Errorf("write the migration ledger: %w", err)
	}
	return nil
}
