// Package step runs one migration: the change, and the ledger row that says it was made, in one transaction. Modules run
// their Go functions with it, the core a module's SQL files.
//
// It must not know where steps come from, nor decide which are due: Run refuses a step whose turn it is not.
package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// Step is one migration in one direction.
type Step struct {
	ID   string
	Down bool
	// Declared are all migrations of the module, in order.
	Declared []ledger.Declared
	// Change makes the change. It must use tx alone, and leave its commit to Run.
	Change func(tx *gorm.DB) error
}

// Run makes the change and writes its ledger row in one transaction, and returns the SQL that ran. The transaction holds the
// write lock from its first moment, so that what the ledger says stays true until the commit: of several processes that run
// the same step, one does, and the others find it done. They answer with what was recorded then.
func Run(ctx context.Context, db *gorm.DB, table string, s Step) ([]string, error) {
	tx, err := begin(ctx, db, table)
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	applied, err := tx.applied()
	if err != nil {
		return nil, err
	}
	done, err := s.done(applied)
	if err != nil {
		return nil, err
	}
	if done {
		return ledger.Statements(tx.own, table, s.ID)
	}
	return tx.apply(s, len(applied)+1)
}

// done reports whether the step has been applied before, or the reason why it must not be now.
func (s Step) done(applied []string) (bool, error) {
	ids := make([]string, len(s.Declared))
	for i, declared := range s.Declared {
		ids[i] = declared.ID
	}
	pending, err := ledger.Plan(applied, ids)
	if err != nil {
		return false, err
	}
	switch {
	case s.Down && (len(applied) == 0 || applied[len(applied)-1] != s.ID):
		return false, fmt.Errorf("migration %s is not the last one applied (fix: undo the later ones first)", s.ID)
	case s.Down:
		return false, nil
	case slices.Contains(applied, s.ID):
		return true, nil
	case pending[0] != s.ID:
		return false, fmt.Errorf("migration %s comes after %s, which has not been applied (fix: apply that one first)",
			s.ID, pending[0])
	}
	return false, nil
}

// transaction is the one in which a step runs, seen from two sides: own is the platform's, theirs the step's, which is
// recorded and cannot end the transaction.
type transaction struct {
	own, theirs *gorm.DB
	table       string
	recorder    *recorder
}

func begin(ctx context.Context, db *gorm.DB, table string) (*transaction, error) {
	own := db.Session(&gorm.Session{NewDB: true, Context: ctx}).Begin()
	if own.Error != nil {
		return nil, fmt.Errorf("begin: %w", own.Error)
	}
	pool, ok := own.Statement.ConnPool.(gorm.Tx)
	if !ok {
		own.Rollback()
		return nil, errors.New("begin: GORM did not make a transaction")
	}
	t := &transaction{own: own, table: table, recorder: &recorder{Tx: pool}}
	t.theirs = own.Session(&gorm.Session{NewDB: true, Context: ctx}) // Context: else the two share a Statement
	t.theirs.Statement.ConnPool = t.recorder
	return t, nil
}

// rollback does nothing after a commit. Its error is dropped: the one that led here says more.
func (t *transaction) rollback() { t.own.Rollback() }

func (t *transaction) applied() ([]string, error) {
	if err := ledger.Ensure(t.own, t.table); err != nil {
		return nil, err
	}
	rows, err := ledger.Read(t.own, t.table)
	return ledger.IDs(rows), err
}

// apply makes the change, checks what it left, moves the ledger and commits.
func (t *transaction) apply(s Step, position int) ([]string, error) {
	start := time.Now()
	if err := t.recorder.verdict(s.Change(t.theirs)); err != nil {
		return nil, err
	}
	if err := sqlite.CheckForeignKeys(t.own); err != nil {
		return nil, err
	}
	row := ledger.Row{
		Position: position, ID: s.ID, AppliedAt: t.own.NowFunc(),
		DurationMS: time.Since(start).Milliseconds(), Statements: t.recorder.statements(),
	}
	if err := t.record(row, s.Down); err != nil {
		return nil, err
	}
	if err := t.own.Commit().Error; err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return row.Statements, nil
}

func (t *transaction) record(row ledger.Row, down bool) error {
	done := t.own.Table(t.table).Create
	if down {
		done = func(any) *gorm.DB { return t.own.Table(t.table).Delete(&ledger.Row{}, "id = ?", row.ID) }
	}
	if err := done(&row).Error; err != nil {
		return fmt.Errorf("write the migration ledger: %w", err)
	}
	return nil
}
