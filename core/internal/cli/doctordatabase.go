package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/storage"
)

// databasePatience bounds the whole look at the database.
const databasePatience = 15 * time.Second

// database looks whether the database can be used, by whom, and whether it has room for every connection.
func (p *patient) database(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, databasePatience)
	defer cancel()
	settings := p.settings.Database
	health, err := storage.Check(ctx, storage.Options{
		DataDir: p.dataDir, URL: settings.URL, MaxConns: settings.MaxConns, ModuleMaxConns: settings.ModuleMaxConns,
		Isolation: settings.Isolation,
	})
	f := finding{Name: "database", Result: checkOK, Detail: health.Detail}
	if err != nil {
		f.Result = checkFail
		f.Detail, f.Fix = admin.SplitFix(err.Error())
		return []finding{f}
	}
	all := []finding{f}
	if health.Connections > 0 {
		all = append(all, p.connections(ctx, health.Connections))
	}
	for _, found := range health.Findings {
		all = append(all, finding{Name: found.Name, Result: checkWarn, Detail: found.Detail, Fix: found.Fix})
	}
	return all
}

// connections compares what the server has with what this platform may open; others may use it too.
func (p *patient) connections(ctx context.Context, limit int) finding {
	modules, outboxes := 0, 0
	if found, err := p.scan(ctx); err == nil { // else the check of modules says so
		for _, mod := range found.Modules {
			if mod.Manifest.Grants.Database {
				modules++
			}
			if mod.Manifest.Grants.Database && len(mod.Manifest.Events.Publishes) > 0 {
				outboxes++
			}
		}
	}
	// Besides its pool platformd has one that listens, one that looks for outboxes, and one for each outbox that it empties.
	core, each := p.settings.Database.MaxConns+2+outboxes, p.settings.Database.ModuleMaxConns
	wanted := core + modules*each
	f := finding{Name: "database connections", Result: checkOK, Detail: fmt.Sprintf(
		"up to %d of the server's %d: %d for platformd, %d for each process of %s",
		wanted, limit, core, each, count(modules, "module"))}
	if wanted > limit {
		f.Result = checkWarn
		f.Fix = "raise the server's max_connections, or lower database.maxConns and database.moduleMaxConns"
	}
	return f
}
