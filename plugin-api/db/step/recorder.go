package step

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"gorm.io/gorm"
)

// What the ledger keeps of a step, so that a step that seeds a million rows does not fill it.
const (
	maxStatements = 1000
	maxStatement  = 4096 // bytes
)

// errEnds is what a step gets that tries to end the transaction it runs in.
var errEnds = errors.New("a migration runs in the platform's transaction and may not begin or end one " +
	"(fix: return nil to keep the changes, an error to undo them; nest with tx.Transaction)")

// recorder is a transaction's connection as a step sees it. It keeps the text of the statements, without their values, and
// refuses to end the transaction.
type recorder struct {
	gorm.Tx

	kept   []string
	count  int    // statements that changed or could have changed something
	failed error  // the last failure of a statement,
	text   string // and its text
	ended  bool   // the step tried to end the transaction
}

// ExecContext implements gorm.ConnPool.
func (r *recorder) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := r.allow(query); err != nil {
		return nil, err
	}
	result, err := r.Tx.ExecContext(ctx, query, args...)
	r.note(query, err)
	return result, err
}

// QueryContext implements gorm.ConnPool. Statements with RETURNING come this way.
func (r *recorder) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := r.allow(query); err != nil {
		return nil, err
	}
	rows, err := r.Tx.QueryContext(ctx, query, args...)
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
	row := r.Tx.QueryRowContext(ctx, query, args...)
	r.note(query, row.Err())
	return row
}

// PrepareContext implements gorm.ConnPool; it stands for the runs of the prepared statement, which do not pass here.
func (r *recorder) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := r.allow(query); err != nil {
		return nil, err
	}
	stmt, err := r.Tx.PrepareContext(ctx, query)
	r.note(query, err)
	return stmt, err
}

// Commit implements gorm.TxCommitter.
func (r *recorder) Commit() error { return r.allow("COMMIT") }

// Rollback implements gorm.TxCommitter.
func (r *recorder) Rollback() error { return r.allow("ROLLBACK") }

func (r *recorder) allow(query string) error {
	if !endsTransaction(query) {
		return nil
	}
	r.ended = true
	return errEnds
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

// verdict is the step's own error, with the statement that it came from, if it came from one. A step that tried to end
// the transaction has failed, whatever it says.
func (r *recorder) verdict(err error) error {
	switch {
	case r.ended:
		return errEnds
	case r.failed == nil || !errors.Is(err, r.failed):
		return err
	}
	return fmt.Errorf("%w (statement %d: %s)", err, r.count+1, r.text)
}

// clip bounds a statement and makes it valid UTF-8, which protobuf demands.
func clip(query string) string {
	if len(query) > maxStatement {
		query = query[:maxStatement] + " ..."
	}
	return strings.ToValidUTF8(query, "?")
}

func endsTransaction(query string) bool {
	switch first, second := words(query); first {
	case "BEGIN", "COMMIT", "END":
		return true
	case "ROLLBACK":
		return second != "TO" // back to a savepoint: tx.Transaction does it
	}
	return false
}

func onlyReads(query string) bool {
	switch first, _ := words(query); first {
	case "SELECT", "PRAGMA", "EXPLAIN", "SAVEPOINT", "RELEASE", "ROLLBACK":
		return true
	}
	return false
}

// words returns the first two words of a statement in upper case; leading comments are skipped.
func words(query string) (first, second string) {
	query = uncomment(query)
	head := strings.ToUpper(query[:min(len(query), 64)])
	fields := strings.FieldsFunc(head, func(r rune) bool { return !unicode.IsLetter(r) })
	fields = append(fields, "", "")
	return fields[0], fields[1]
}

// uncomment drops the comments before a statement.
func uncomment(query string) string {
	for {
		query = strings.TrimSpace(query)
		var end string
		switch {
		case strings.HasPrefix(query, "--"):
			end = "\n"
		case strings.HasPrefix(query, "/*"):
			end = "*/"
		default:
			return query
		}
		_, query, _ = strings.Cut(query, end)
	}
}
