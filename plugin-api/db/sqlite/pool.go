package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
)

// pool is the gorm.ConnPool of one file. SQLite lets one connection write and makes the others poll with growing pauses,
// which is unfair (64 writers on two processors: the slowest insert took 250 to 530 ms by polling, 20 ms in the queue), and
// each poller would keep a connection from a reader. So the writers of this process queue here, before they take a
// connection. SQLite's own lock still stands behind the queue, for other processes and for writes that come another way.
type pool struct {
	*sql.DB
	unsynced *sql.DB       // writes what is not awaited on the disk; nil: so does DB, or nothing is
	turn     chan struct{} // holds a value while somebody writes
	wait     time.Duration // for one's turn
}

func newPool(db, unsynced *sql.DB, wait time.Duration) *pool {
	return &pool{DB: db, unsynced: unsynced, turn: make(chan struct{}, 1), wait: wait}
}

// unsyncedKey marks the context of a transaction.
type unsyncedKey struct{}

// WithoutSync returns a context whose transactions on a Durable file do not wait until their commit is on the disk. A power
// failure may undo the last of them, up to the next commit that does wait, which takes all before it along. A process that is
// killed loses nothing. It is for what is done again if it is lost. A file that is opened Alone does not know the difference.
func WithoutSync(ctx context.Context) context.Context {
	return context.WithValue(ctx, unsyncedKey{}, true)
}

// writer is whose connection a transaction gets. SQLite's setting belongs to the connection.
func (p *pool) writer(ctx context.Context) *sql.DB {
	if p.unsynced != nil && ctx.Value(unsyncedKey{}) != nil {
		return p.unsynced
	}
	return p.DB
}

// Close closes every connection.
func (p *pool) Close() error {
	err := p.DB.Close()
	if p.unsynced != nil {
		err = errors.Join(err, p.unsynced.Close())
	}
	return err
}

// GetDBConn implements gorm.GetDBConnector.
func (p *pool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

// ExecContext runs a statement outside of a transaction, in its turn.
func (p *pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	defer p.release()
	return p.DB.ExecContext(ctx, query, args...)
}

// BeginTx implements gorm.ConnPoolBeginner. The turn lasts until the transaction ends or ctx does.
func (p *pool) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	if opts != nil && opts.ReadOnly {
		return p.DB.BeginTx(ctx, opts)
	}
	if err := p.acquire(ctx); err != nil {
		return nil, err
	}
	tx, err := p.writer(ctx).BeginTx(ctx, opts)
	if err != nil {
		p.release()
		return nil, err
	}
	release := sync.OnceFunc(p.release)
	unwatch := context.AfterFunc(ctx, release) // database/sql rolls back when ctx ends, whether or not anybody asks
	return &transaction{Tx: tx, db: p.DB, end: func() { unwatch(); release() }}, nil
}

func (p *pool) acquire(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(p.wait)
	defer timeout.Stop()
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return fmt.Errorf("%w: another transaction of this process has been open for over %s; "+
			"code inside a transaction must use the transaction's *gorm.DB", ErrBusy, p.wait)
	}
}

func (p *pool) release() { <-p.turn }

// transaction is a gorm.Tx that gives its turn back when it ends.
type transaction struct {
	*sql.Tx
	session.Commits
	db  *sql.DB
	end func()
}

// GetDBConn implements gorm.GetDBConnector.
func (t *transaction) GetDBConn() (*sql.DB, error) { return t.db, nil }

// Commit implements gorm.TxCommitter.
func (t *transaction) Commit() error {
	err := t.Tx.Commit()
	t.end() // first: what follows a commit must not keep the next writer waiting
	return t.Committed(err)
}

// Rollback implements gorm.TxCommitter.
func (t *transaction) Rollback() error {
	defer t.end()
	return t.Tx.Rollback()
}
