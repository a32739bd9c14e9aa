package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/bridge"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/db/outbox"
)

// What the platform itself tells modules.
const (
	eventUserDeleted = "identity.user.deleted" // {"id"}: forget what you know of them
	eventModuleReady = "platform.module.ready" // {"module", "version"}
)

// platformName is under which the bridge knows the platform's own outbox. No module can have that name.
const platformName = "platform"

// platformSource is the source of what the platform publishes.
const platformSource = "/platform"

// platformTypes are the types above, as operators see them.
func platformTypes() []admin.EventType {
	return []admin.EventType{
		{Type: eventUserDeleted, Version: 1, Module: platformName}, {Type: eventModuleReady, Version: 1, Module: platformName},
	}
}

// putOut puts an event of the platform into its outbox, as part of tx: it is published if, and only if, tx is committed.
func putOut(ctx context.Context, tx *gorm.DB, e bus.Event, data map[string]string) (err error) {
	e.Version, e.Source = 1, platformSource
	if e.Data, err = json.Marshal(data); err != nil {
		return fmt.Errorf("encode event %s: %w", e.Type, err)
	}
	if err := outbox.Add(ctx, tx, e.Stamped("")); err != nil {
		return fmt.Errorf("put event %s into the outbox: %w", e.Type, err)
	}
	return nil
}

// openOutbox opens the outbox of a module, or the platform's own.
func (d *daemon) openOutbox(ctx context.Context, module string) (bridge.Outbox, error) {
	if module == platformName {
		return bridge.CoreOutbox(ctx, d.storage.Core())
	}
	return bridge.ModuleOutbox(ctx, d.storage, module, d.log.Named("outbox"))
}

func (d *daemon) outboxTaken(ctx context.Context, module string) (bool, error) {
	if module == platformName { // whose outbox needs no login to be looked at
		return false, nil
	}
	return bridge.Taken(ctx, d.storage.Core(), module)
}

// announceModules tells of the modules that become ready until ctx ends.
func (d *daemon) announceModules(ctx context.Context) error {
	for {
		select {
		case status := <-d.becameReady:
			e := bus.Event{Type: eventModuleReady, Subject: "modules/" + status.Name, Key: status.Name}
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := putOut(ctx, d.storage.Core(), e, map[string]string{"module": status.Name, "version": d.installedVersion(status.Name)})
			cancel()
			if err != nil {
				d.log.Warn("nobody is told that a module is ready", "module", status.Name, "error", err)
				continue
			}
			d.bridge.Wake(platformName)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// moduleChanged follows the supervisor. It does not block: what finds no room is not told.
func (d *daemon) moduleChanged(status supervisor.Status) {
	d.metrics.moduleChanged(status)
	if status.State != supervisor.Ready {
		return
	}
	select {
	case d.becameReady <- status:
	default:
	}
}
