package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/outbox"
)

// outboxTimeout bounds the making of a module's tables for events.
const outboxTimeout = 30 * time.Second

// makeOutbox makes the tables for events of a module that speaks of them, where they are missing. On PostgreSQL a module at work
// could not. An SQLite file is the module's own, which may be another user's than ours: there package plugin-api/db makes them.
func (d *daemon) makeOutbox(ctx context.Context, mod *supervisor.Module) error {
	name := mod.Manifest.Name
	if !mod.Manifest.Events.Any() || d.storage.Module(name).Driver != backend.PostgreSQL {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, outboxTimeout)
	defer cancel()
	there, err := d.hasOutbox(ctx, name)
	if err == nil && !there {
		err = d.createOutbox(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("module %s: tables for events: %w", name, err)
	}
	return nil
}

// hasOutbox looks into the server's catalog alone: what belongs to a module may run its code when it is read.
func (d *daemon) hasOutbox(ctx context.Context, module string) (bool, error) {
	var tables int
	err := d.storage.Core().WithContext(ctx).Raw("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "+
		"WHERE n.nspname = ? AND c.relname IN (?, ?)", module, outbox.Table, outbox.Inbox).Scan(&tables).Error
	return tables == 2, err
}

func (d *daemon) createOutbox(ctx context.Context, module string) (err error) {
	login, err := d.storage.Login(ctx, module, storage.Owner)
	if err != nil {
		return err
	}
	defer login.Release()
	db, err := backend.Open(ctx, login.Database, backend.Options{Log: d.log, Migration: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close(db)) }()
	return outbox.Create(ctx, db)
}
