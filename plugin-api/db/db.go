// Package db gives a module its own database under GORM: Open for its work, Migrations for its schema. It is a Go module
// of its own, so that a module without data links no driver.
//
// It must not reach another module's data: it opens what the core names in Core.Database, and nothing else.
package db

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// Open opens the module's database, which its manifest must grant (`grants: { database: true }`): a file of SQLite or a schema of
// PostgreSQL, as the operator chose. Tables get the module's prefix: a struct Post of module blog is the table blog_posts.
// The result is safe for concurrent use; open it once, in Init, and Close it in Stop.
//
// On PostgreSQL the module at work may use its tables and not change them: that is what Migrations are for.
//
// A handler may return the error of a query as it is: gorm.ErrRecordNotFound becomes 404 Not Found, gorm.ErrDuplicatedKey and a
// transaction that another one was in the way of 409 Conflict, gorm.ErrForeignKeyViolated 412 Precondition Failed,
// gorm.ErrCheckConstraintViolated and a value that the database cannot hold 400 Bad Request, a server that cannot be reached
// 503 Service Unavailable, and any other is logged and shown as "internal error". Clients see neither SQL nor values.
//
// Queries of 200 ms and more are logged with their SQL, never with their values. Code inside db.Transaction must use the
// transaction's *gorm.DB: the outer one would wait for the transaction to end.
//
// If the manifest speaks of events, Publish and Once work in it, and every commit survives a power cut.
func Open(ctx context.Context, core *pluginapi.Core) (*gorm.DB, error) {
	if core.Database.Driver == "" {
		return nil, fmt.Errorf("module %s may not use a database (fix: add `grants: { database: true }` to its module.yaml)",
			core.Name)
	}
	db, err := backend.Open(ctx, backend.Database(core.Database), backend.Options{Log: core.Log})
	if err != nil || !core.Database.Events {
		return db, err
	}
	if err := withEvents(ctx, db, core); err != nil {
		return nil, errors.Join(err, backend.Close(db))
	}
	return db, nil
}

// Close waits for running queries and releases the database. It may be called with a db that Open did not return, nil
// included, so that a Stop after a failed Init needs no check.
func Close(db *gorm.DB) error {
	if db == nil {
		return nil
	}
	if o, ok := db.Plugins[pluginName].(*outlet); ok {
		o.close()
	}
	return backend.Close(db)
}

// Health asks the database for a sign of life, for pluginapi.Module.Health. ctx must have a deadline; the core's has.
func Health(ctx context.Context, db *gorm.DB) error {
	if db == nil {
		return nil // Init has not opened it yet, and will say so if it cannot
	}
	sqlDB, err := db.DB()
	if err == nil {
		err = sqlDB.PingContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("the database does not answer: %w", err)
	}
	return nil
}
