package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/bridge"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/bus/amqp"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/bus/embedded"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// openBus makes what carries events: RabbitMQ if the configuration names one, else the core's own database.
func (d *daemon) openBus(ctx context.Context) (err error) {
	core := d.storage.Core()
	if d.config.Events.URL == "" {
		d.bus, err = embedded.New(ctx, core, embedded.Options{
			Daemon: d.storage.DaemonID(), Log: d.log.Named("bus"),
		})
		d.busName = "embedded"
	} else {
		d.bus, err = d.openBroker(ctx)
		d.busName = "rabbitmq"
	}
	if err != nil {
		return err
	}
	d.closing(d.bus.Close)
	if d.letters, err = deadletter.New(ctx, core); err != nil {
		return err
	}
	d.bridge = bridge.New(bridge.Deps{
		Bus: d.bus, Instances: d.registry, Keep: d.letters.Keep, Admit: d.admit,
		OpenOutbox: d.openOutbox, Taken: d.outboxTaken, Metrics: d.metrics.registry, Log: d.log.Named("events"),
	})
	if err := outbox.Create(ctx, core); err != nil {
		return err
	}
	d.becameReady = make(chan supervisor.Status, 256)
	d.background(ctx, d.announceModules)
	return nil
}

func (d *daemon) openBroker(ctx context.Context) (bus.Bus, error) {
	ledger, err := amqp.NewLedger(ctx, d.storage.Core())
	if err != nil {
		return nil, err
	}
	return amqp.Open(ctx, amqp.Options{
		URL: d.config.Events.URL, Exchange: d.config.Events.Exchange, Ledger: ledger, Log: d.log.Named("bus"),
	})
}

// admit is what the manifest of a module says about an event that it wants to publish. Around an upgrade, two manifests say: one
// version's events may still be in the outbox, or be there already, when the other's manifest counts.
func (d *daemon) admit(module string, e bus.Event) (bus.Event, error) {
	if module == platformName {
		e.Source = platformSource
		return e, e.Check()
	}
	e.Source = event.SourceOf(module)
	mod := d.installed().Get(module)
	if mod == nil {
		return e, fmt.Errorf("module %s is not installed (fix: install it)", module)
	}
	admitted, err := mod.Publishing.Admit(e, "")
	if other := d.live.otherVersion(module); err != nil && other != nil {
		if again, otherErr := other.Admit(e, ""); otherErr == nil {
			return again, nil
		}
	}
	return admitted, err
}

// admitAgain is admit for an event that was refused, and has the source that admit gave it.
func (d *daemon) admitAgain(e bus.Event) (bus.Event, error) {
	module, isModule := strings.CutPrefix(e.Source, event.SourceOf(""))
	switch {
	case isModule:
		return d.admit(module, e)
	case e.Source == platformSource:
		return d.admit(platformName, e)
	}
	return e, fmt.Errorf("nobody has the source %.80q (fix: throw it away: platformd dlq purge)", e.Source)
}

// bridged is what the bridge does for the platform, and for the modules that may start.
func bridged(modules []*supervisor.Module) []bridge.Module {
	all := []bridge.Module{{Name: platformName, Outbox: true}}
	for _, mod := range modules {
		all = append(all, bridgedModule(mod.Manifest))
	}
	return all
}

func bridgedModule(m *manifest.Manifest) bridge.Module {
	bridged := bridge.Module{Name: m.Name, Outbox: m.Grants.Database && len(m.Events.Publishes) > 0}
	for _, s := range m.Events.Subscribes {
		bridged.Subscriptions = append(bridged.Subscriptions, bridge.Subscription{
			Pattern: s.Type, Version: int(s.Version), Concurrency: int(s.Concurrency), Ordered: s.Order == manifest.OrderKey,
			Timeout: s.Timeout.Std(), Attempts: int(s.Retry.Max),
		})
	}
	return bridged
}

func (d *daemon) eventDeps() admin.Events {
	return admin.Events{
		Bus: d.bus, Publish: d.bridge.Publish, Admit: d.admitAgain, Letters: d.letters, Types: d.eventTypes,
		Outboxes: d.bridge.Backlog,
	}
}

// eventTypes is what the modules' manifests declare, and who wants it.
func (d *daemon) eventTypes() []admin.EventType {
	subscriptions := map[string]string{} // pattern by ID
	for _, mod := range d.installed().Modules {
		for _, s := range mod.Manifest.Events.Subscribes {
			subscriptions[bus.Subscription{Module: mod.Manifest.Name, Pattern: s.Type}.ID()] = s.Type
		}
	}
	types := platformTypes()
	for _, mod := range d.installed().Modules {
		for _, p := range mod.Manifest.Events.Publishes {
			types = append(types, admin.EventType{Type: p.Type, Version: int(p.Version), Module: mod.Manifest.Name})
		}
	}
	for i := range types {
		types[i].Subscribers = []string{}
		for _, id := range slices.Sorted(maps.Keys(subscriptions)) {
			if bus.Matches(subscriptions[id], types[i].Type) {
				types[i].Subscribers = append(types[i].Subscribers, id)
			}
		}
	}
	slices.SortFunc(types, func(x, y admin.EventType) int {
		return cmp.Or(strings.Compare(x.Type, y.Type), cmp.Compare(x.Version, y.Version))
	})
	return types
}

// outboxWaiting is what modules have published and the bus has not got yet.
func (d *daemon) outboxWaiting() (sum int64) {
	for _, n := range d.bridge.Backlog() {
		sum += n
	}
	return sum
}
