package daemon

import (
	"context"
	"net"
	"net/http"

	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/gateway"
	"github.com/platformd/platformd/core/internal/host"
	"github.com/platformd/platformd/core/internal/signin"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// openHost makes what modules ask of the core.
func (d *daemon) openHost(context.Context) (err error) {
	d.host, err = host.New(host.Deps{
		Version: d.installedVersion, Ready: d.registry.Ready, Provides: d.provides, State: d.registry.Callable,
		Auth: d.auth, Identity: d.identity, Authz: d.authz, Audit: d.audit, Cache: d.cache,
		Publish: d.bridge.Publish, Relay: d.bridge.Wake, Log: d.log.Named("host"),
	})
	return err
}

func (d *daemon) services(mod *supervisor.Module) func(*grpc.Server) {
	return d.host.Services(mod.Manifest, mod.Publishing)
}

// publications returns what answers the module's publications; nil if it publishes nothing.
func (d *daemon) publications(mod *supervisor.Module) func(context.Context, net.Conn) {
	if len(mod.Manifest.Events.Publishes) == 0 {
		return nil
	}
	return d.host.Publications(mod.Manifest, mod.Publishing)
}

func holder(who auth.Identity) authz.Holder {
	return authz.Holder{Principal: who.Principal, Bound: who.Permissions}
}

// ticket stands for a caller at one module, for a minute.
func (d *daemon) ticket(caller auth.Identity, module, requestID string) (string, error) {
	ticket, _ := d.auth.Mint(&caller, module, requestID)
	return ticket, nil
}

// ruled writes down how the gateway judged a request, as far as there is room: a flood of them must not hold up others.
func (d *daemon) ruled(r gateway.Ruling) {
	entry := audit.Entry{
		Actor: r.Principal, Action: "route.call", Resource: r.Module + "/" + r.Route, Outcome: audit.Allowed,
		RequestID: r.RequestID, TraceID: r.TraceID, Address: r.Address,
	}
	if r.Reason != "" {
		entry.Outcome = audit.Denied
		entry.Details = audit.Details("reason", r.Reason, "permission", r.Permission)
	}
	d.audit.TryWrite(entry)
}

// platformRoutes are what the gateway answers itself: sign-in, and the admin API for whoever has its permissions.
func (d *daemon) platformRoutes() []gateway.PlatformRoute {
	var routes []gateway.PlatformRoute
	for _, r := range signin.Routes(d.signinDeps()) {
		access := manifest.AccessAuthenticated
		if r.Public {
			access = manifest.AccessPublic
		}
		routes = append(routes, gateway.PlatformRoute{
			ID: r.ID, Method: r.Method, Path: gateway.PlatformPrefix + r.Path, Access: access, Serve: r.Serve,
		})
	}
	for _, e := range admin.Endpoints(d.adminDeps()) {
		if e.Permission == "" && e.Access == "" {
			continue // the control socket's alone
		}
		routes = append(routes, gateway.PlatformRoute{
			ID: e.ID, Method: e.Method, Path: gateway.PlatformPrefix + e.Path, Permission: e.Permission, Access: e.Access,
			Stream: e.Endless, Serve: asCaller(e),
		})
	}
	return routes
}

// asCaller serves an endpoint for whoever the gateway has let in.
func asCaller(e admin.Endpoint) func(http.ResponseWriter, *http.Request, auth.Identity) error {
	return func(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
		return e.Serve(w, r.WithContext(admin.WithCaller(r.Context(), admin.Caller{Holder: holder(who)})))
	}
}

func (d *daemon) signinDeps() signin.Deps {
	return signin.Deps{
		Auth: d.auth, Identity: d.identity, Audit: d.audit, URL: d.url, Log: d.log.Named("signin"),
		Administrator: d.administrator, Appointed: d.authz.Refresh,
		Permissions: func(who auth.Identity) ([]string, error) { return d.authz.Held(holder(who)) },
	}
}
