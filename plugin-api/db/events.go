package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/internal/session"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/event"
)

// Publish publishes an event if, and only if, tx is committed, which must be a transaction of a database that Open returned: it
// puts the event into the module's outbox, the table platformd_outbox, from where the core relays it soon after the commit, as
// often as that takes. What core.Events.Publish would refuse otherwise, nobody can be told of any more, so that the core keeps it
// as a dead letter: a type or a version that the manifest does not declare, data that does not fit its schema.
//
// Events of one key are published in the order in which their transactions are committed: on PostgreSQL a transaction that
// publishes for a key waits until no other one that has done so is open. Keep such transactions short, and publish for several
// keys in the same order everywhere, or two may be in each other's way (postgres.ErrSerialization, which clients see as 409
// Conflict).
func Publish(tx *gorm.DB, e pluginapi.Event) error {
	o, err := outletOf(tx)
	if err != nil {
		return fmt.Errorf("publish %.99q: %w", e.Type, err)
	}
	transaction := session.TransactionOf(tx)
	if transaction == nil {
		return fmt.Errorf("publish %s: this is no transaction (fix: publish inside of db.Transaction, with the *gorm.DB that it "+
			"hands over; or use core.Events.Publish)", e.Type)
	}
	ctx := tx.Statement.Context
	e.Source = o.source
	e = e.Stamped(pluginapi.TraceParentFrom(ctx))
	if err := e.Check(); err != nil {
		return fmt.Errorf("publish %.99q: %w", e.Type, err)
	}
	if err := outbox.Add(ctx, tx, e); err != nil {
		return fmt.Errorf("publish %s: %w", e.Type, err)
	}
	transaction.AfterCommit(o, o.wake)
	return nil
}

// keepInbox is for how long the inbox remembers an event: longer than any comes again by itself.
const keepInbox = 14 * 24 * time.Hour

// Once does work for an event that has not had its effect yet, and nothing for one that has: work and a row of the module's
// inbox, the table platformd_inbox, are committed together or not at all. It is for EventHandlers, with the context that they
// get, and tells events apart by source, id and the subscription that they came by. Duplicates that are handled at the same time
// wait for each other. An event that has the id and the source of another one, yet says something else, is an error with
// pluginapi.Drop.
//
// work must do everything with tx; what it does elsewhere may happen more than once. Its error is returned as it is. After 14
// days an event is forgotten.
func Once(ctx context.Context, conn *gorm.DB, e pluginapi.Event, work func(tx *gorm.DB) error) error {
	o, err := outletOf(conn)
	if err != nil {
		return fmt.Errorf("handle %.99q: %w", e.Type, err)
	}
	if e.ID == "" || e.Source == "" {
		return pluginapi.Drop(fmt.Errorf("handle %.99q: the event has no id or no source (fix: correct its publisher)", e.Type))
	}
	first := false
	err = conn.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
		first, err = outbox.Enter(ctx, tx, pluginapi.SubscriptionFrom(ctx), e)
		if err != nil {
			return fmt.Errorf("note event %s of %s in the inbox: %w", e.ID, e.Source, err)
		}
		if !first {
			return nil
		}
		return work(tx)
	})
	if errors.Is(err, outbox.ErrOtherEvent) && !first {
		return pluginapi.Drop(err)
	}
	if err == nil && first && session.TransactionOf(conn) == nil {
		o.tidy(ctx, conn)
	}
	return err
}

// withEvents makes Publish and Once work in db.
func withEvents(ctx context.Context, db *gorm.DB, core *pluginapi.Core) error {
	// The core has made the tables where the module could not, on PostgreSQL; a file is the module's own.
	if err := outbox.Create(ctx, db); err != nil {
		return fmt.Errorf("database of module %s: %w", core.Name, err)
	}
	return db.Use(newOutlet(ctx, event.SourceOf(core.Name), core.Events.Relay, core.Log))
}

func outletOf(db *gorm.DB) (*outlet, error) {
	if o, ok := db.Plugins[pluginName].(*outlet); ok {
		return o, nil
	}
	return nil, errors.New("this database is not for events (fix: open it with db.Open, in a module whose module.yaml says what " +
		"it publishes or subscribes to)")
}
