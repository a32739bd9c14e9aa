// Package sqlite opens SQLite files under GORM, with a driver in pure Go (modernc.org/sqlite) and the settings that every
// file of the platform shares: write-ahead log, enforced foreign keys, immediate transactions, UTC times, errors that GORM
// can name, and a logger that writes to hclog.
//
// It must not know what is in a file: modules reach it through package db, the core through its storage.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
	"modernc.org/sqlite" // registers the driver "sqlite", too
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
)

// driverName is what modernc.org/sqlite registers itself as.
const driverName = "sqlite"

// defaultLockWait is Options.LockWait where it is not set.
const defaultLockWait = 5 * time.Second

// Options say how a file is opened. The zero value suits a module's own data.
type Options struct {
	// Naming turns Go names into those of tables and columns; nil is GORM's own.
	Naming schema.Namer
	// Log receives slow queries (warn) and failed ones (debug), with their SQL and never their values; nil discards them.
	Log hclog.Logger
	// Durable makes every commit reach the disk before it returns. Without it a power failure (never a crash of the
	// process) may undo the last commits; the file stays intact either way.
	Durable bool
	// ReadOnly refuses writes and does not create the file. What the file's schema defines is not trusted: nothing in it
	// may call a function with side effects.
	ReadOnly bool
	// ForeignKeysOff leaves foreign keys unchecked, for a migration that rebuilds tables. SQLite ignores the setting
	// inside a transaction, so that it belongs to the connection. Check with CheckForeignKeys before the commit.
	ForeignKeysOff bool
	// Alone keeps whatever SQL is run within this one file: no other can be attached, nor written by VACUUM INTO. There is one
	// connection then.
	Alone bool
	// LockWait is how long a write waits for another one to end before it fails with ErrBusy; 0 = 5 s.
	LockWait time.Duration
}

func (o Options) lockWait() time.Duration {
	if o.LockWait > 0 {
		return o.LockWait
	}
	return defaultLockWait
}

// Open opens the SQLite file at path and creates it, readable by its owner alone, if there is none; the folders that lead
// to it are created for their owner alone too. ctx bounds the opening alone. The result is safe for concurrent use. Close
// it with Close.
//
// Writers wait for each other, readers for nobody. SQLite has one writer per file, and a transaction that starts as a
// reader and writes later can fail at that point with nothing to wait for; hence every transaction takes the write lock
// when it begins (_txlock=immediate), except those begun with sql.TxOptions{ReadOnly: true}. Several connections serve
// readers, who see the last commit (WAL) while one of them writes.
func Open(ctx context.Context, path string, o Options) (*gorm.DB, error) {
	file, err := locate(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	exists, err := find(file)
	if err == nil && !exists && !o.ReadOnly {
		err = create(ctx, file)
	}
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db, err := connect(ctx, file, o)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, translate(err))
	}
	return db, nil
}

// Close closes every connection of db and waits for running queries to end.
func Close(db *gorm.DB) error { return session.Close(db) }

func connect(ctx context.Context, file string, o Options) (*gorm.DB, error) {
	sqlDB, err := sql.Open(driverName, dsn(file, o))
	if err != nil {
		return nil, err
	}
	// One connection for the writer, the rest for readers. SQLite works in the caller's own thread: more readers than
	// processors gain nothing, and fewer than four would let one slow query hold up the others.
	connections := 1 + max(4, runtime.GOMAXPROCS(0))
	if o.Alone {
		connections = 1
	}
	sqlDB.SetMaxOpenConns(connections)
	sqlDB.SetMaxIdleConns(connections)
	err = probe(ctx, sqlDB, o.ReadOnly)
	if err == nil && o.Alone {
		err = forbidOthers(ctx, sqlDB)
	}
	if err != nil {
		return nil, errors.Join(err, sqlDB.Close())
	}
	unsynced, err := withoutSync(file, o)
	if err != nil {
		return nil, errors.Join(err, sqlDB.Close())
	}
	pool := newPool(sqlDB, unsynced, o.lockWait())
	db, err := gorm.Open(dialector{&gormsqlite.Dialector{Conn: pool}}, session.Config(o.Naming, o.Log))
	if err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return db, nil
}

// withoutSync is for one connection, which is made when it is first asked for.
func withoutSync(file string, o Options) (*sql.DB, error) {
	if !o.Durable || o.Alone || o.ReadOnly {
		return nil, nil
	}
	o.Durable = false
	db, err := sql.Open(driverName, dsn(file, o))
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// probe makes the first connection and finds out whether the file can be written, by a change that it takes back. SQLite
// opens a file that it may only read without a word, and fails at the first write.
func probe(ctx context.Context, db *sql.DB, readOnly bool) error {
	if readOnly {
		return db.PingContext(ctx)
	}
	tx, err := db.BeginTx(ctx, nil)
	if errors.Is(translate(err), ErrBusy) {
		return nil // somebody writes: it can be written
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "PRAGMA user_version = 1")
	return errors.Join(err, tx.Rollback())
}

// forbidOthers sets a limit of the one connection that db has; nothing in SQL can change it. VACUUM INTO attaches its target.
func forbidOthers(ctx context.Context, db *sql.DB) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	_, err = sqlite.Limit(conn, sqlite3.SQLITE_LIMIT_ATTACHED, 0)
	return err
}
