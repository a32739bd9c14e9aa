package daemon

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/gateway"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// stopSlack is what a stop may take beyond draining and the modules' own timeouts.
const stopSlack = 5 * time.Second

func (d *daemon) openGateway(context.Context) error {
	var err error
	d.gateway, err = gateway.New(gateway.Deps{
		Log: d.log.Named("gateway"), Instances: d.registry, Authenticate: d.auth.Authenticate, Decide: d.authz.Decide,
		Ticket: d.ticket, Ruled: d.ruled, Platform: d.platformRoutes(),
		Ready: d.readiness, Metrics: d.metrics.registry, Server: d.config.Server,
	})
	return err
}

// openControl replaces the socket that a killed daemon left: the lock says that there is no other.
func (d *daemon) openControl(context.Context) error {
	path := admin.SocketPath(d.dataDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := admin.Listen(path, d.log.Named("control"))
	if err != nil {
		return err
	}
	d.control = listener
	d.closing(func() error { _ = listener.Close(); return nil }) // admin.Serve has closed it if it ever served
	return nil
}

func (d *daemon) adminDeps() admin.Deps {
	return admin.Deps{
		Info: d.info, Modules: d.modules, Crashes: d.crashes, Order: d.order, Reload: d.reload, Migrations: d.migrationOrders(),
		Packages: d.packageOrders(), Data: d.dataOrders(),
		Users: d.identity, Events: d.eventDeps(), Auth: d.auth, Authz: d.authz, Audit: d.audit, URL: d.url,
		Logs: d.logs.Store, Stop: d.stop, Log: d.log.Named("control"),
	}
}

func (d *daemon) info() admin.Info {
	return admin.Info{
		Version: d.options.Version, PID: os.Getpid(), StartedAt: d.started,
		URL: d.url(), Listen: d.listener.Addr().String(), DataDir: d.dataDir, ConfigFile: d.options.ConfigFile,
		Database: d.storage.Name(), Events: d.busName, OutboxWaiting: d.outboxWaiting(), Cache: d.cache.Name(),
		Calls:     d.callPairs(),
		Isolation: d.isolation(), Capabilities: d.capabilities(),
		Ready: d.readiness().Ready, StopMillis: d.longestStop().Milliseconds(),
	}
}

func (d *daemon) url() string {
	if d.config.Server.PublicURL != "" {
		return d.config.Server.PublicURL
	}
	scheme := "http://"
	if d.config.Server.TLS.Cert != "" {
		scheme = "https://"
	}
	return scheme + d.listener.Addr().String()
}

// longestStop: modules of one level stop at the same time, levels one after the other.
func (d *daemon) longestStop() time.Duration {
	longest := d.config.Server.DrainTimeout + stopSlack
	for _, level := range d.installed().Levels() {
		var slowest time.Duration
		for _, mod := range level {
			slowest = max(slowest, time.Duration(mod.Manifest.Runtime.StopTimeout))
		}
		longest += slowest
	}
	return longest
}

// readiness: the platform is ready when its database is there, every module has settled, and the required ones are ready.
func (d *daemon) readiness() gateway.Readiness {
	answer := gateway.Readiness{Ready: d.settled.Load(), Modules: []gateway.ModuleState{}}
	if err := d.database.check(); err != nil {
		answer.Ready, answer.Reason, answer.Detail = false, "the database cannot be reached", err.Error()
	}
	for _, mod := range d.modules() {
		if mod.Required && mod.State != string(supervisor.Ready) {
			answer.Ready = false
		}
		answer.Modules = append(answer.Modules, gateway.ModuleState{
			Name: mod.Name, State: mod.State, Reason: mod.Reason, Required: mod.Required,
		})
	}
	return answer
}

// modules is every module that is known: those the supervisor runs, and those it was never given.
func (d *daemon) modules() []admin.Module {
	var all []admin.Module
	statuses := make(map[string]supervisor.Status)
	for _, status := range d.supervisor.Statuses() {
		statuses[status.Name] = status
	}
	for _, mod := range d.installed().Modules {
		shown := view(mod, statuses)
		shown.NotTaken = d.live.whatIsNotTaken(shown.Name)
		shown.Isolation, shown.IsolationNotes = d.assess(mod)
		if shown.State == string(supervisor.Ready) {
			shown.Degraded = d.gateway.Degraded(shown.Name)
		}
		all = append(all, shown)
	}
	for _, refused := range d.installed().Problems {
		what, fix := admin.SplitFix(refused.Err.Error())
		state := supervisor.Failed
		if errors.Is(refused.Err, errDisabled) {
			state = supervisor.Stopped
		}
		all = append(all, admin.Module{
			Name: refused.Name, State: string(state), Since: d.started, Reason: what, Fix: fix, Dir: refused.Dir,
			Signature: "unsigned", NotTaken: d.live.whatIsNotTaken(refused.Name),
		})
	}
	slices.SortFunc(all, func(a, b admin.Module) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// view joins what the catalog knows of a module with how it fares.
func view(mod *catalog.Module, statuses map[string]supervisor.Status) admin.Module {
	m := mod.Manifest
	out := admin.Module{
		Name: m.Name, Version: m.Version, Description: m.Description, Required: m.Runtime.Required,
		Dir: mod.Dir, Executable: mod.Executable, SHA256: mod.SHA256, Signature: "unsigned",
		Requires: maps.Clone(m.Requires.Modules), Optional: maps.Clone(m.Requires.Optional),
		Provides: slices.Clone(m.Services.Provides), Consumes: slices.Clone(m.Services.Consumes),
	}
	for _, p := range m.Permissions {
		out.Permissions = append(out.Permissions, admin.Permission{Name: p.Name, Description: p.Description, Roles: p.Roles})
	}
	for _, r := range m.Routes {
		out.Routes = append(out.Routes, admin.Route{
			ID: r.ID, Method: r.Method, Path: gateway.FullPath(m.Name, r.Path), Permission: r.Permission, Access: r.Access,
			Stream: r.Stream, Summary: r.Summary, MaxBody: int64(r.MaxBody), Timeout: time.Duration(r.Timeout).Milliseconds(),
			Needs: r.Needs,
		})
	}
	fare(&out, mod, statuses)
	return out
}

// fare fills in how the module fares; one that the supervisor was not given is held.
func fare(out *admin.Module, mod *catalog.Module, statuses map[string]supervisor.Status) {
	status, supervised := statuses[out.Name]
	switch {
	case supervised:
		out.State, out.Since = string(status.State), status.Since
		out.Restarts, out.StartMillis = status.Restarts, status.StartMillis
		out.Problem, out.Wanted = status.Problem, status.Wanted
		out.Reason, out.Fix = admin.SplitFix(status.Reason)
		for _, p := range status.Instances {
			out.Instances = append(out.Instances, admin.Process{
				PID: p.PID, StartedAt: p.StartedAt, SHA256: p.SHA256, Transport: p.Transport,
			})
		}
	case mod.Held != nil:
		out.State = string(supervisor.Held)
		out.Reason, out.Fix = admin.SplitFix(mod.Held.Error())
	default:
		out.State = string(supervisor.Starting)
	}
}
