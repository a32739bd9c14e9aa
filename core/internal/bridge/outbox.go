package bridge

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/outbox"
)

// relayLock is held by the session of the daemon that empties the outbox of a schema. The module's own role could take it too:
// then its events wait, and nobody else's.
const relayLock = "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '#relay', 0))"

// relayTaken asks for that lock from outside of the schema, as the server lists it: the two halves of its number apart.
const relayTaken = "SELECT EXISTS (SELECT 1 FROM pg_locks, hashtextextended(? || '#relay', 0) AS number " +
	"WHERE locktype = 'advisory' AND granted AND objsubid = 1 " +
	"AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) " +
	"AND classid = ((number >> 32) & 4294967295)::oid AND objid = (number & 4294967295)::oid)"

// databaseOutbox is an Outbox in a database.
type databaseOutbox struct {
	db    *gorm.DB // over the one connection that may hold the lock
	ours  bool     // nobody else empties it
	close func(context.Context) error

	rows    int64 // that were in it when they were counted, less those that were removed since
	counted time.Time
}

// countEvery is how often a backlog is counted that is more than one batch: that reads all of it.
const countEvery = 5 * time.Second

// ModuleOutbox opens the outbox of a module. The error matches fs.ErrNotExist until the module's start has made it.
func ModuleOutbox(ctx context.Context, s *storage.Storage, module string, log hclog.Logger) (Outbox, error) {
	db, closeAll, err := s.OpenModule(ctx, module, log)
	if err != nil {
		return nil, err
	}
	if !outbox.Ready(ctx, db) {
		return nil, errors.Join(fmt.Errorf("the outbox of %s: %w", module, fs.ErrNotExist), closeAll(ctx))
	}
	return open(ctx, db, closeAll)
}

// Taken tells whether a daemon empties the outbox of a module, without logging in to the module's database. core is the core's.
// On SQLite there is just one daemon.
func Taken(ctx context.Context, core *gorm.DB, module string) (taken bool, err error) {
	if core.Name() == backend.SQLite {
		return false, nil
	}
	if err := core.WithContext(ctx).Raw(relayTaken, module).Scan(&taken).Error; err != nil {
		return false, fmt.Errorf("ask who empties the outbox of %s: %w", module, err)
	}
	return taken, nil
}

// CoreOutbox opens the platform's own, in the core's database.
func CoreOutbox(ctx context.Context, db *gorm.DB) (Outbox, error) {
	return open(ctx, db, func(context.Context) error { return nil })
}

func open(ctx context.Context, db *gorm.DB, closeAll func(context.Context) error) (Outbox, error) {
	box := &databaseOutbox{db: db, ours: db.Name() == backend.SQLite, close: closeAll}
	if box.ours {
		return box, nil
	}
	if err := box.pin(ctx); err != nil {
		return nil, errors.Join(err, closeAll(ctx))
	}
	return box, nil
}

// pin keeps to one connection: the lock belongs to it, and is gone when it breaks.
func (b *databaseOutbox) pin(ctx context.Context) error {
	pool, err := b.db.DB()
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to the database of an outbox: %w", err)
	}
	pinned := b.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	pinned.Statement.ConnPool = conn
	b.db = pinned
	closeAll := b.close
	b.close = func(ctx context.Context) error { return errors.Join(closeConn(conn), closeAll(ctx)) }
	return nil
}

// closeConn ends the connection. It must not go back into its pool, which may live on, with the lock.
func closeConn(conn *sql.Conn) error {
	err := conn.Raw(func(any) error { return driver.ErrBadConn }) // which has the pool end it
	if err != nil && !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
		return fmt.Errorf("end the connection that held the outbox: %w", err)
	}
	return nil
}

// Next implements Outbox.
func (b *databaseOutbox) Next(ctx context.Context, limit int) ([]Outgoing, int64, error) {
	if !b.ours {
		err := b.db.WithContext(ctx).Raw(relayLock).Scan(&b.ours).Error
		if err != nil {
			return nil, 0, fmt.Errorf("lock the outbox: %w", err)
		}
		if !b.ours {
			backlog, err := outbox.Pending(ctx, b.db)
			if err != nil {
				return nil, 0, err
			}
			return nil, backlog.Rows, ErrElsewhere
		}
	}
	rows, err := outbox.Next(ctx, b.db, limit)
	if err != nil {
		return nil, 0, err
	}
	events := make([]Outgoing, len(rows))
	for i, row := range rows {
		events[i] = Outgoing{Seq: row.Seq, Event: row.Event}
	}
	waiting, err := b.waiting(ctx, len(rows), len(rows) < limit)
	return events, waiting, err
}

// waiting is how much there is in all, of which some were read; since the last count others may have been put in.
func (b *databaseOutbox) waiting(ctx context.Context, read int, all bool) (int64, error) {
	switch {
	case all:
		b.rows, b.counted = int64(read), time.Time{}
	case time.Since(b.counted) >= countEvery:
		backlog, err := outbox.Pending(ctx, b.db)
		if err != nil {
			return 0, err
		}
		b.rows, b.counted = backlog.Rows, time.Now()
	}
	return max(b.rows, int64(read)), nil
}

// Remove implements Outbox.
func (b *databaseOutbox) Remove(ctx context.Context, seqs []int64) error {
	err := outbox.Remove(ctx, b.db, seqs)
	if err == nil {
		b.rows -= int64(len(seqs))
	}
	return err
}

// Close implements Outbox.
func (b *databaseOutbox) Close(ctx context.Context) error { return b.close(ctx) }
