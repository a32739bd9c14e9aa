package step

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// runLoose is Run outside of a transaction: the ledger says that the step has begun before it does, and how far it got.
func runLoose(db *gorm.DB, table string, s Step) ([]string, error) {
	at, statements, err := note(db, table, s)
	if err != nil || at.done {
		return statements, err
	}
	beginner, ok := db.Statement.ConnPool.(gorm.ConnPoolBeginner)
	if !ok {
		return nil, errors.New("begin: the database was not opened by this SDK")
	}
	recorder := &recorder{ConnPool: db.Statement.ConnPool, dialect: db.Name(), untied: true}
	theirs := db.Session(&gorm.Session{NewDB: true, Context: db.Statement.Context})
	theirs.Statement.ConnPool = &loose{recorder, beginner}
	start := time.Now()
	if err := recorder.verdict(s.changeFrom(theirs, at.begun, progress(db, table, s))); err != nil {
		return nil, fmt.Errorf("%w; it is noted as begun, and will be resumed", err)
	}
	statements = recorder.statements()
	if s.Statements != nil {
		statements = s.Statements // those of an earlier run, too
	}
	if s.Down {
		err = db.Table(table).Delete(&ledger.Row{}, "id = ?", s.ID).Error
	} else {
		err = db.Table(table).Where("id = ?", s.ID).Select("unfinished", "applied_at", "duration_ms", "statements").
			Updates(&ledger.Row{AppliedAt: db.NowFunc(), DurationMS: time.Since(start).Milliseconds(), Statements: statements}).Error
	}
	if err != nil {
		return nil, fmt.Errorf("write the migration ledger: %w", err)
	}
	return statements, nil
}

// note writes that the step has begun. What it returns of a step that is done already is what was recorded then.
func note(db *gorm.DB, table string, s Step) (at turn, statements []string, err error) {
	tx, err := begin(db, table)
	if err != nil {
		return turn{}, nil, err
	}
	defer tx.rollback()
	if at, err = tx.turn(s); err != nil {
		return turn{}, nil, err
	}
	if at.done {
		statements, err = ledger.Statements(tx.own, table, s.ID)
		return at, statements, err
	}
	if err := tx.resumable(s, at.begun); err != nil {
		return turn{}, nil, err
	}
	row := ledger.Row{
		Position: at.position, ID: s.ID, AppliedAt: tx.own.NowFunc(), Checksum: s.checksum(), Unfinished: true,
		Statements: append([]string{}, s.Statements...),
	}
	if at.begun != nil && !s.Down {
		row.Progress = at.begun.Progress
	}
	err = tx.own.Table(table).Save(&row).Error
	if err != nil {
		return turn{}, nil, fmt.Errorf("write the migration ledger: %w", err)
	}
	return at, nil, tx.commit()
}

// resumable refuses to resume a step of which statements that have run were edited. Those that have not may be: one that can
// never work would make a dead end of the step.
func (t *transaction) resumable(s Step, begun *ledger.Row) error {
	if begun == nil || s.Down || begun.Progress == 0 || begun.Checksum == s.checksum() {
		return nil
	}
	ran, err := ledger.Statements(t.own, t.table, s.ID)
	if err != nil {
		return err
	}
	for i := range min(begun.Progress, len(ran)) {
		if i >= len(s.Statements) || s.Statements[i] != ran[i] {
			return &ledger.DriftError{
				ID: s.ID, Applied: begun.Checksum, Declared: s.checksum(),
				Difference: fmt.Sprintf("statement %d has been run as it was", i+1),
			}
		}
	}
	return nil
}

// progress returns what notes that n statements have ended.
func progress(db *gorm.DB, table string, s Step) func(n int) error {
	if s.Down { // one that was interrupted begins anew, whether it goes on or is applied again
		return func(int) error { return nil }
	}
	return func(n int) error {
		err := db.Table(table).Where("id = ?", s.ID).Update("progress", n).Error
		if err != nil {
			return fmt.Errorf("write the migration ledger: %w", err)
		}
		return nil
	}
}

// changeFrom goes on where begun, if there is one, stopped.
func (s Step) changeFrom(tx *gorm.DB, begun *ledger.Row, ended func(n int) error) error {
	if s.Change != nil {
		return s.Change(tx)
	}
	first := 0
	if begun != nil && begun.Unfinished && !s.Down {
		first = min(begun.Progress, len(s.Statements))
	}
	for i, statement := range s.Statements[first:] {
		if err := s.runStatement(tx, first+i, statement); err != nil {
			return err
		}
		if err := ended(first + i + 1); err != nil {
			return err
		}
	}
	return nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
