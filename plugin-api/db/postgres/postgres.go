// Package postgres opens PostgreSQL databases under GORM, with pgx and the settings that every connection of the platform
// shares: UTC times, bounded waits, errors that GORM can name, and a logger that writes to hclog.
//
// It must not know what is in a database: modules reach it through package db, the core through its storage, which makes the
// roles that Provision gives a place to.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	gormpostgres "gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
)

const (
	// connectTimeout bounds each attempt to connect, where the URL does not (connect_timeout).
	connectTimeout = 5 * time.Second
	// idleTime is after how long an unused connection is closed: the server has few, and other processes want them.
	idleTime = 5 * time.Minute
)

// Options say how a database is opened. The zero value is one connection with the settings of its role.
type Options struct {
	// Naming turns Go names into those of tables and columns; nil is GORM's own.
	Naming schema.Namer
	// Log receives slow queries (warn) and failed ones (debug), with their SQL and never their values; nil discards them.
	Log hclog.Logger
	// MaxConns is the most connections that are open at a time; below 1 it is 1. Who waits for one waits as long as its context.
	MaxConns int
	// RootCertificates, PEM, are what the server's own must be signed by, instead of the file that sslrootcert names: a module
	// could not read that.
	RootCertificates []byte
	// Settings are run-time parameters of the server for every connection, such as search_path.
	Settings map[string]string
}

// Open opens the database at a URL (libpq, "Connection URIs") and makes the first connection. ctx bounds the opening alone. The
// result is safe for concurrent use. Close it with Close.
func Open(ctx context.Context, url string, o Options) (*gorm.DB, error) {
	config, err := parse(url, o)
	if err != nil {
		return nil, err
	}
	sqlDB := sql.OpenDB(newConnector(config))
	sqlDB.SetMaxOpenConns(max(1, o.MaxConns))
	sqlDB.SetMaxIdleConns(max(1, o.MaxConns))
	sqlDB.SetConnMaxIdleTime(idleTime)
	if err := sqlDB.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("open database %s: %w", place(config), errors.Join(translate(err), sqlDB.Close()))
	}
	db, err := gorm.Open(dialector{gormpostgres.New(gormpostgres.Config{Conn: pool{sqlDB}})}, session.Config(o.Naming, o.Log))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", place(config), errors.Join(translate(err), sqlDB.Close()))
	}
	return db, nil
}

// Close closes every connection of db and waits for running queries to end.
func Close(db *gorm.DB) error { return session.Close(db) }

func parse(url string, o Options) (*pgx.ConnConfig, error) {
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		// pgx would read it as keywords, and take what it does not find from the environment.
		return nil, errors.New("the database's URL is not one of PostgreSQL (fix: write postgres://USER:PASSWORD@HOST:PORT/DATABASE)")
	}
	url, err := withoutCertificateFile(url, o.RootCertificates)
	if err != nil {
		return nil, err
	}
	config, err := pgx.ParseConfig(url)
	if err != nil { // pgx hides the password; what a URL that cannot be parsed hides, nobody knows
		return nil, fmt.Errorf("the database's URL cannot be read: %w (fix: write postgres://USER:PASSWORD@HOST:PORT/DATABASE)",
			redact(err))
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = connectTimeout
	}
	if err := trust(config, o.RootCertificates); err != nil {
		return nil, err
	}
	for name, value := range o.Settings {
		config.RuntimeParams[name] = value
	}
	config.RuntimeParams["timezone"] = "UTC"
	return config, nil
}

// readUTC makes times read back in UTC, as they were written.
func readUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// place names a database for people.
func place(config *pgx.ConnConfig) string {
	return fmt.Sprintf("%s at %s:%d", config.Database, config.Host, config.Port)
}

// pool is the gorm.ConnPool of one database. pgx prepares each statement once on a connection. When a migration changes a table
// meanwhile, the server refuses the old plan, before it runs anything, and pgx forgets it: then once more is enough.
type pool struct{ *sql.DB }

// GetDBConn implements gorm.GetDBConnector.
func (p pool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

// ExecContext implements gorm.ConnPool.
func (p pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return again(func() (sql.Result, error) { return p.DB.ExecContext(ctx, query, args...) })
}

// QueryContext implements gorm.ConnPool.
func (p pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return again(func() (*sql.Rows, error) { return p.DB.QueryContext(ctx, query, args...) })
}

// QueryRowContext implements gorm.ConnPool.
func (p pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row, _ := again(func() (*sql.Row, error) {
		row := p.DB.QueryRowContext(ctx, query, args...)
		return row, row.Err()
	})
	return row
}

// again runs a query anew as long as it hits connections with a plan from before a change. Each has one at most.
func again[T any](query func() (T, error)) (result T, err error) {
	const most = 10 // other migrations may go on meanwhile, but not for ever
	for range most {
		if result, err = query(); !isStalePlan(err) {
			break
		}
	}
	return result, err
}
