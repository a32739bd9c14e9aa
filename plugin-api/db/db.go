// Package db gives a module its own database under GORM: Open for its work, Migrations for its schema. It is a Go module
// of its own, so that a module without data links no driver.
//
// It must not reach another module's data: it opens what the core names in Core.Database, and nothing else.
package db

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/internal/session"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// driverSQLite is Database.Driver of a module that keeps its data in an SQLite file.
const driverSQLite = "sqlite"

// Open opens the module's database, which its manifest must grant (`grants: { database: true }`). Tables get the module's
// prefix: a struct Post of module blog is the table blog_posts. The result is safe for concurrent use; open it once, in
// Init, and Close it in Stop.
//
// Queries that break a rule of the schema fail with gorm.ErrDuplicatedKey, gorm.ErrForeignKeyViolated or
// gorm.ErrCheckConstraintViolated. Queries of 200 ms and more are logged with their SQL, never with their values. Code
// inside db.Transaction must use the transaction's *gorm.DB: the outer one would wait for the transaction to end.
func Open(ctx context.Context, core *pluginapi.Core) (*gorm.DB, error) {
	if core.Database.Driver == "" {
		return nil, fmt.Errorf("module %s may not use a database (fix: add `grants: { database: true }` to its module.yaml)",
			core.Name)
	}
	return open(ctx, core.Database, sqlite.Options{Log: core.Log})
}

// Close waits for running queries and releases the database. It may be called with a db that Open did not return, nil
// included, so that a Stop after a failed Init needs no check.
func Close(db *gorm.DB) error {
	if db == nil {
		return nil
	}
	return sqlite.Close(db)
}

// open dispatches on the driver: the one place that knows them all.
func open(ctx context.Context, database pluginapi.Database, o sqlite.Options) (*gorm.DB, error) {
	if database.Driver != driverSQLite {
		return nil, fmt.Errorf("database driver %q is not known to this module's SDK (fix: build the module with the "+
			"platform's version of plugin-api/db)", database.Driver)
	}
	o.Naming = schema.NamingStrategy{TablePrefix: database.TablePrefix, IdentifierMaxLength: session.MaxIdentifier}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return sqlite.Open(ctx, database.Source, o)
}
