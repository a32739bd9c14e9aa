// Package step runs one migration: the change, and the ledger row that says it was made, in one transaction. Modules run
// their Go functions with it, the core a module's SQL files.
//
// It must not know where steps come from, nor decide which are due: Run refuses a step whose turn it is not.
package step

import (
	"context"
	"database/sql"
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
	// Statements are what to run, one after the other, instead of Change.
	Statements []string
	// NoTransaction runs the step outside of one, for what a database refuses within: it must be harmless to run again, whole or,
	// of Statements, each. A step that was interrupted is run again; of Statements those that have ended are not.
	NoTransaction bool
	// DryRun changes nothing, and does not ask whose turn it is: what would be written is returned and not run.
	DryRun bool
}

// Run makes the change and writes its ledger row in one transaction, and returns the SQL that ran. The transaction holds the
// write lock from its first moment, so that what the ledger says stays true until the commit: of several processes that run
// the same step, one does, and the others find it done. They answer with what was recorded then.
func Run(ctx context.Context, db *gorm.DB, table string, s Step) ([]string, error) {
	switch db = db.WithContext(ctx); {
	case s.DryRun:
		return foresee(db, s)
	case s.NoTransaction:
		return runLoose(db, table, s)
	}
	return runTied(db, table, s)
}

// turn is what the ledger says of a step that wants to run.
type turn struct {
	done     bool // it has been applied before
	position int  // that its row has, or will have
	begun    *ledger.Row
}

// turn reports whether the step has been applied before, or the reason why it must not be now.
func (s Step) turn(rows []ledger.Row) (turn, error) {
	if s.Down { // what was edited can be undone
		rows = slices.Clone(rows)
		for i := range rows {
			rows[i].Checksum = ""
		}
	}
	pending, err := ledger.Plan(rows, s.Declared)
	if err != nil {
		return turn{}, err
	}
	var last ledger.Row
	if len(rows) > 0 {
		last = rows[len(rows)-1]
	}
	switch {
	case s.Down && last.ID != s.ID:
		return turn{}, fmt.Errorf("migration %s is not the last one applied (fix: undo the later ones first)", s.ID)
	case s.Down:
		return turn{position: last.Position, begun: &last}, nil
	case last.Unfinished && last.ID == s.ID:
		return turn{position: last.Position, begun: &last}, nil
	case slices.Contains(ledger.IDs(rows), s.ID):
		return turn{done: true}, nil
	case pending[0].ID != s.ID:
		return turn{}, fmt.Errorf("migration %s comes after %s, which has not been applied (fix: apply that one first)",
			s.ID, pending[0].ID)
	}
	return turn{position: len(rows) + 1}, nil
}

func (s Step) checksum() string {
	at := slices.IndexFunc(s.Declared, func(d ledger.Declared) bool { return d.ID == s.ID })
	if at < 0 {
		return ""
	}
	return s.Declared[at].Checksum
}

// change makes the change on a connection.
func (s Step) change(tx *gorm.DB) error {
	if s.Change != nil {
		return s.Change(tx)
	}
	for i, statement := range s.Statements {
		if err := s.runStatement(tx, i, statement); err != nil {
			return err
		}
	}
	return nil
}

func (s Step) runStatement(tx *gorm.DB, i int, statement string) error {
	// Not tx.Exec, which takes @ and ? in it for the places of values.
	_, err := tx.Statement.ConnPool.ExecContext(tx.Statement.Context, statement)
	if err == nil {
		return nil
	}
	if translator, ok := tx.Dialector.(gorm.ErrorTranslator); ok {
		err = translator.Translate(err)
	}
	return &StatementError{Number: i + 1, Of: len(s.Statements), Text: clip(statement), Err: err}
}

// StatementError says which of Step.Statements failed.
type StatementError struct {
	Number, Of int // from 1
	Text       string
	Err        error
}

// Error implements error.
func (e *StatementError) Error() string {
	return fmt.Sprintf("statement %d of %d: %v (%s)", e.Number, e.Of, e.Err, e.Text)
}

// Unwrap serves errors.Is and errors.As.
func (e *StatementError) Unwrap() error { return e.Err }

// transaction is one that holds the ledger, seen from two sides: own is the platform's, theirs the step's, which is recorded
// and cannot end the transaction.
type transaction struct {
	own, theirs *gorm.DB
	table       string
	recorder    *recorder
}

// begin begins a transaction that nobody else can run a step beside.
func begin(db *gorm.DB, table string) (*transaction, error) {
	t, err := open(db, nil)
	if err != nil {
		return nil, err
	}
	t.table = table
	if db.Name() == PostgreSQL { // SQLite's write lock is the same
		if err := t.own.Exec("LOCK TABLE " + quote(db, table) + " IN SHARE ROW EXCLUSIVE MODE").Error; err != nil {
			t.rollback()
			return nil, fmt.Errorf("wait for the migration ledger: %w", err)
		}
	}
	return t, nil
}

func open(db *gorm.DB, options *sql.TxOptions) (*transaction, error) {
	ctx := db.Statement.Context
	own := db.Session(&gorm.Session{NewDB: true, Context: ctx}).Begin(options)
	if own.Error != nil {
		return nil, fmt.Errorf("begin: %w", own.Error)
	}
	t := &transaction{own: own, recorder: &recorder{ConnPool: own.Statement.ConnPool, dialect: db.Name()}}
	t.theirs = own.Session(&gorm.Session{NewDB: true, Context: ctx}) // Context: else the two share a Statement
	t.theirs.Statement.ConnPool = &tied{t.recorder}
	return t, nil
}

func quote(db *gorm.DB, table string) string { return db.Statement.Quote(table) }

// rollback does nothing after a commit. Its error is dropped: the one that led here says more.
func (t *transaction) rollback() { t.own.Rollback() }

func (t *transaction) commit() error {
	if err := t.own.Commit().Error; err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func (t *transaction) turn(s Step) (turn, error) {
	if err := ledger.Ensure(t.own, t.table); err != nil {
		return turn{}, err
	}
	rows, err := ledger.Read(t.own, t.table)
	if err != nil {
		return turn{}, err
	}
	return s.turn(rows)
}

// runTied is Run in one transaction.
func runTied(db *gorm.DB, table string, s Step) ([]string, error) {
	tx, err := begin(db, table)
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	at, err := tx.turn(s)
	if err != nil {
		return nil, err
	}
	if at.done {
		return ledger.Statements(tx.own, table, s.ID)
	}
	if err := tx.resumable(s, at.begun); err != nil {
		return nil, err
	}
	return tx.apply(s, at.position)
}

// apply makes the change, checks what it left, moves the ledger and commits.
func (t *transaction) apply(s Step, position int) ([]string, error) {
	start := time.Now()
	if err := t.recorder.verdict(s.change(t.theirs)); err != nil {
		return nil, err
	}
	if t.own.Name() == SQLite { // PostgreSQL has checked them
		if err := sqlite.CheckForeignKeys(t.own); err != nil {
			return nil, err
		}
	}
	statements := t.recorder.statements()
	err := t.own.Table(t.table).Delete(&ledger.Row{}, "id = ?", s.ID).Error // Down, or what an interrupted step left
	if err == nil && !s.Down {
		err = t.own.Table(t.table).Create(&ledger.Row{
			Position: position, ID: s.ID, AppliedAt: t.own.NowFunc(), Checksum: s.checksum(),
			DurationMS: time.Since(start).Milliseconds(), Statements: statements,
		}).Error
	}
	if err != nil {
		return nil, fmt.Errorf("write the migration ledger: %w", err)
	}
	return statements, t.commit()
}

// foresee returns what the step would write, as far as that does not depend on what it wrote before.
func foresee(db *gorm.DB, s Step) ([]string, error) {
	if s.Change == nil {
		return s.Statements, nil
	}
	if db.Name() == SQLite {
		// Of the connection, not of the transaction: the caller opened the database for this step alone.
		if err := db.Exec("PRAGMA query_only = on").Error; err != nil {
			return nil, fmt.Errorf("forbid writing: %w", err)
		}
	}
	tx, err := open(db, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	tx.recorder.dry = true
	err = tx.recorder.verdict(recovered(func() error { return s.Change(tx.theirs) }))
	statements := tx.recorder.statements()
	if err != nil {
		statements = append(statements, "-- the rest cannot be foreseen: "+clip(oneLine(err)))
	}
	return statements, nil
}

// recovered makes an error of a panic: a step may not expect that nothing it wrote is there.
func recovered(change func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	return change()
}
