package step

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// What the ledger keeps of a step, so that a step that seeds a million rows does not fill it.
const (
	maxStatements = 1000
	maxStatement  = 4096 // bytes
)

// recorder is a connection as a step sees it. It keeps the text of the statements, without their values, and refuses those that
// a step may not use.
type recorder struct {
	gorm.ConnPool

	dialect string
	untied  bool // not in a transaction
	dry     bool // what would write is noted, and not run

	kept   []string
	count  int    // statements that changed or could have changed something
	failed error  // the last failure of a statement,
	text   string // and its text
	denied error  // the step tried what it may not
}

// ExecContext implements gorm.ConnPool.
func (r *recorder) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := r.allow(query); err != nil {
		return nil, err
	}
	if r.dry && !onlyReads(query) {
		r.note(query, nil)
		return nothing{}, nil
	}
	result, err := r.ConnPool.ExecContext(ctx, query, args...)
	r.note(query, err)
	return result, err
}

// QueryContext implements gorm.ConnPool. Statements with RETURNING come this way.
func (r *recorder) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := r.allow(query); err != nil {
		return nil, err
	}
	if r.dry && !onlyReads(query) {
		r.note(query, nil)
		return r.ConnPool.QueryContext(ctx, "SELECT NULL WHERE 1 = 0")
	}
	rows, err := r.ConnPool.QueryContext(ctx, query, args...)
	r.note(query, err)
	return rows, err
}

// QueryRowContext implements gorm.ConnPool. A *sql.Row cannot be made with an error of ours: a context that has ended
// keeps the query from running, and the step is refused in the end.
func (r *recorder) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if r.allow(query) != nil {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		ctx = ended
	}
	if r.dry && !onlyReads(query) {
		r.note(query, nil)
		return r.ConnPool.QueryRowContext(ctx, "SELECT NULL WHERE 1 = 0")
	}
	row := r.ConnPool.QueryRowContext(ctx, query, args...)
	r.note(query, row.Err())
	return row
}

// PrepareContext implements gorm.ConnPool; it stands for the runs of the prepared statement, which do not pass here.
func (r *recorder) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := r.allow(query); err != nil {
		return nil, err
	}
	if r.dry && !onlyReads(query) {
		return nil, errors.New("a prepared statement cannot be foreseen")
	}
	stmt, err := r.ConnPool.PrepareContext(ctx, query)
	r.note(query, err)
	return stmt, err
}

func (r *recorder) allow(query string) error {
	for _, statement := range statementsOf(query, r.dialect) {
		if err := Allow(statement, r.dialect, !r.untied); err != nil {
			r.denied = err
			return err
		}
	}
	return nil
}

func (r *recorder) note(query string, err error) {
	if err != nil {
		r.failed, r.text = err, clip(query)
		return
	}
	if onlyReads(query) {
		return
	}
	r.count++
	if len(r.kept) < maxStatements {
		r.kept = append(r.kept, clip(query))
	}
}

// statements is what the ledger keeps.
func (r *recorder) statements() []string {
	if left := r.count - len(r.kept); left > 0 {
		return append(r.kept[:len(r.kept):len(r.kept)], fmt.Sprintf("-- and %d more", left))
	}
	return append([]string{}, r.kept...)
}

// verdict is the step's own error, with the statement that it came from, if it came from one. A step that tried what it may not
// has failed, whatever it says.
func (r *recorder) verdict(err error) error {
	var said *StatementError // one of Step.Statements, whose place is known
	switch {
	case r.denied != nil:
		return r.denied
	case r.failed == nil || errors.As(err, &said) || !errors.Is(err, r.failed):
		return err
	}
	return fmt.Errorf("%w (statement %d: %s)", err, r.count+1, r.text)
}

// nothing is the result of a statement that was not run.
type nothing struct{}

// LastInsertId implements sql.Result.
func (nothing) LastInsertId() (int64, error) { return 0, nil }

// RowsAffected implements sql.Result.
func (nothing) RowsAffected() (int64, error) { return 0, nil }

// tied is a recorder of a transaction, which its step cannot end.
type tied struct{ *recorder }

// Commit implements gorm.TxCommitter.
func (t *tied) Commit() error { return t.allow("COMMIT") }

// Rollback implements gorm.TxCommitter.
func (t *tied) Rollback() error { return t.allow("ROLLBACK") }

// StmtContext implements gorm.Tx.
func (t *tied) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	tx, ok := t.ConnPool.(gorm.Tx)
	if !ok {
		return stmt
	}
	return tx.StmtContext(ctx, stmt)
}

// loose is a recorder of a database, whose step may begin transactions of its own; what they run is not noted.
type loose struct {
	*recorder
	begin gorm.ConnPoolBeginner
}

// BeginTx implements gorm.ConnPoolBeginner.
func (l *loose) BeginTx(ctx context.Context, options *sql.TxOptions) (gorm.ConnPool, error) {
	return l.begin.BeginTx(ctx, options)
}
