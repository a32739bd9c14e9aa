package plugintest

import (
	"context"
	"path/filepath"

	pluginapi "github.com/platformd/platformd/plugin-api"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// Database is the module's, as its two kinds of work see it. Package plugin-api/db/dbtest makes one on every backend.
type Database struct {
	// Migrations is for changes of tables, Work for the module at work, which may not change them.
	Migrations, Work pluginapi.Database
	// Outbox reads what the module publishes with db.Publish. Without it a module that publishes cannot use a database here:
	// dbtest's have one.
	Outbox *Outbox
}

// Outbox is the core's part in a database with events.
type Outbox struct {
	// Create makes the tables for events, as the core does before the module starts.
	Create func(ctx context.Context) error
	// Relay hands over what waits in the outbox, in order, and removes it.
	Relay func(ctx context.Context, publish func(pluginapi.Event)) error
}

// fileBelow is a database in an SQLite file: nothing but the file keeps the two apart.
func fileBelow(dir, module string) *Database {
	database := pluginapi.Database{
		Driver: "sqlite", Source: filepath.Join(dir, module+".db"), TablePrefix: module + "_",
	}
	return &Database{Migrations: database, Work: database}
}

func onTheWire(d pluginapi.Database) *modulev1.Database {
	return &modulev1.Database{
		Driver: d.Driver, Source: d.Source, TablePrefix: d.TablePrefix, MaxConns: int32(d.MaxConns),
		RootCertificates: d.RootCertificates, Ledger: d.Ledger,
		Events: d.Events,
	}
}
