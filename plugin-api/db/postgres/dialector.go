package postgres

import (
	"context"
	"database/sql"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
)

// dialector is GORM's own for PostgreSQL, except that it knows more errors.
type dialector struct{ gorm.Dialector }

// Translate implements gorm.ErrorTranslator.
func (dialector) Translate(err error) error { return translate(err) }

// Explain implements gorm.Dialector. Of SQL without its values GORM's own would write each place twice marked: $1$.
func (d dialector) Explain(sql string, vars ...any) string {
	if len(vars) == 0 {
		return sql
	}
	return d.Dialector.Explain(sql, vars...)
}

// SavePoint implements gorm.SavePointerDialectorInterface, which the embedded interface hides.
func (d dialector) SavePoint(tx *gorm.DB, name string) error {
	return tx.Exec("SAVEPOINT " + name).Error
}

// RollbackTo implements gorm.SavePointerDialectorInterface.
func (d dialector) RollbackTo(tx *gorm.DB, name string) error {
	return tx.Exec("ROLLBACK TO SAVEPOINT " + name).Error
}

var _ gorm.SavePointerDialectorInterface = dialector{}

// BeginTx implements gorm.ConnPoolBeginner.
func (p pool) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	tx, err := p.DB.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &transaction{Tx: tx, db: p.DB}, nil
}

// transaction is a gorm.Tx of which others can hear that it was committed.
type transaction struct {
	*sql.Tx
	session.Commits
	db *sql.DB
}

// GetDBConn implements gorm.GetDBConnector.
func (t *transaction) GetDBConn() (*sql.DB, error) { return t.db, nil }

// Commit implements gorm.TxCommitter.
func (t *transaction) Commit() error { return t.Committed(t.Tx.Commit()) }
