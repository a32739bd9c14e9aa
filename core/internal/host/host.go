// Package host is what a module may ask of the core: the gRPC services on its own brokered connection.
//
// Floor 4. Who asks is the connection's owner, fixed when the services are made for it; the owner's manifest is the ceiling.
// It must not trust a message field for either. On whose behalf a module asks, it shows by the ticket that came with the request.
package host

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// callTimeout bounds what the core does for one call, whatever its deadline.
const callTimeout = 30 * time.Second

// Deps is what the services look things up in. All fields are required, except for those that say so.
type Deps struct {
	// Version returns the installed version of a module; "" if it is not installed.
	Version func(module string) string
	// Ready returns nil if a module can be called now, else why not.
	Ready func(module string) error
	// Provides reports whether the manifest of an installed module provides a service.
	Provides func(module, service string) bool
	// State returns how many instances of a module can be called now, and what is closed when that may have changed.
	State func(module string) (changed <-chan struct{}, instances int)

	// Publish publishes events that the module's manifest lets pass, as bus.Bus does, and bounds how long that takes. nil: this
	// platform has no events.
	Publish func(ctx context.Context, events []bus.Event) []error
	// Relay hears that there is something in a module's outbox. It must not block. It is required with Publish.
	Relay func(module string)

	Auth     *auth.Service
	Identity *identity.Service
	Authz    *authz.Service
	Audit    *audit.Service
	Cache    *cache.Service
	Log      hclog.Logger
}

// Host makes the services of modules. It is safe for concurrent use.
type Host struct {
	deps     Deps
	policies map[string]*corev1.Policy
}

// New fails if a method of the protocol has no policy.
func New(deps Deps) (*Host, error) {
	policies, err := guard.Policies()
	if err != nil {
		return nil, fmt.Errorf("read the policies of the core's services: %w", err)
	}
	return &Host{deps: deps, policies: policies}, nil
}

// Services returns a function that registers what a module may ask on a server that only this module can reach. publishing judges
// its events.
func (h *Host) Services(m *manifest.Manifest, publishing *guard.Publishing) func(*grpc.Server) {
	return func(server *grpc.Server) {
		c := &caller{deps: h.deps, manifest: m}
		g := &guard.Registrar{Server: server, Module: m, Policies: h.policies, Answer: c.answer, AnswerStream: c.answerStream,
			Denied: c.denied}
		corev1.RegisterRegistryServer(g, &registryServer{caller: c})
		corev1.RegisterAuthServer(g, &authServer{caller: c})
		corev1.RegisterIdentityServer(g, &identityServer{caller: c})
		corev1.RegisterAuthzServer(g, &authzServer{caller: c})
		corev1.RegisterAuditServer(g, &auditServer{caller: c})
		corev1.RegisterCacheServer(g, &cacheServer{caller: c, cache: h.deps.Cache.Module(m.Name, int64(m.Grants.Cache))})
		if h.deps.Publish != nil {
			corev1.RegisterEventsServer(g, &eventsServer{caller: c, publishing: publishing})
		}
	}
}
