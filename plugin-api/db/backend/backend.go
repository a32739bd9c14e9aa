// Package backend opens a module's database, whatever kind it is of. Modules reach it through package db, the core for what it
// runs in a module's place.
//
// It must not open anything else than it is told to.
package backend

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// The drivers: what Database.Driver may be. GORM's dialects have the same names.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// Database says where a module's own data lives, and how one process of it gets there.
type Database struct {
	Driver string
	// Source is the absolute path of the module's own SQLite file, or a PostgreSQL URL with this process's own credentials.
	Source           string
	TablePrefix      string // prefix of every table of the module: "blog_"
	MaxConns         int    // the most connections that the process may open; 0 = as many as the backend finds good
	RootCertificates []byte // PEM: what a PostgreSQL server's own must be signed by; empty = the system's
	Ledger           string // the table that records which migrations have been applied
	Events           bool   // the module publishes or handles events: a commit must survive a power cut
}

// Options say what the database is opened for.
type Options struct {
	Log hclog.Logger // gets slow queries (warn) and failed ones (debug); nil discards them
	// Migration is for changes of tables: SQLite's foreign keys are off, to be checked before the commit, and one connection is all.
	Migration bool
	// Alone keeps SQL that is not ours within this one file, where SQLite could be told to open others.
	Alone bool
}

// defaultConns is how many connections a process has where nobody says.
const defaultConns = 4

// Open opens the database. Tables get the module's prefix: a struct Post of module blog is the table blog_posts. ctx bounds
// the opening alone. The result is safe for concurrent use. Close it with Close.
func Open(ctx context.Context, d Database, o Options) (*gorm.DB, error) {
	naming := schema.NamingStrategy{TablePrefix: d.TablePrefix, IdentifierMaxLength: session.MaxIdentifier}
	switch d.Driver {
	case SQLite:
		return sqlite.Open(ctx, d.Source, sqlite.Options{
			Naming: naming, Log: o.Log, ForeignKeysOff: o.Migration, Alone: o.Alone, Durable: d.Events,
		})
	case PostgreSQL:
		conns := d.MaxConns
		if conns == 0 {
			conns = defaultConns
		}
		if o.Migration {
			conns = 1
		}
		return postgres.Open(ctx, d.Source, postgres.Options{
			Naming: naming, Log: o.Log, MaxConns: conns, RootCertificates: d.RootCertificates,
		})
	}
	return nil, fmt.Errorf("database driver %q is not known to this module's SDK (fix: build the module with the "+
		"platform's version of plugin-api/db)", d.Driver)
}

// Close waits for running queries to end and releases the database.
func Close(db *gorm.DB) error { return session.Close(db) }
