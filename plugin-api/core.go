package pluginapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Core is a module's handle on the platform. It is valid from Init until Stop returns, and safe for concurrent use.
type Core struct {
	// Name and Version are the module's own, from its manifest.
	Name, Version string
	// Log writes to the platform's log under the module's name.
	Log hclog.Logger
	// Database is where the module's data lives; package db opens it.
	Database Database
	// What the core does for a module, as far as its manifest's grants allow; any other call gets codes.PermissionDenied.
	Auth     *Auth
	Identity *Identity
	Authz    *Authz
	Audit    *Audit
	Cache    *Cache
	Events   *Events

	config   []byte
	registry corev1.RegistryClient
	calls    grpc.ClientConnInterface // to other modules; nil: none
}

// NewCore makes a Core without a platform behind it, for tests. conn answers what is asked of the core and, by Module, of other
// modules; nil: there is nobody.
func NewCore(core Core, config []byte, conn grpc.ClientConnInterface) *Core {
	core.config = config
	if core.Log == nil {
		core.Log = hclog.NewNullLogger()
	}
	if conn == nil {
		conn = nobody{}
	}
	core.calls, conn = conn, asking{conn}
	core.registry = corev1.NewRegistryClient(conn)
	core.Auth = &Auth{corev1.NewAuthClient(conn)}
	core.Identity = &Identity{corev1.NewIdentityClient(conn)}
	core.Authz = &Authz{client: corev1.NewAuthzClient(conn)}
	core.Audit = &Audit{corev1.NewAuditClient(conn)}
	core.Cache = &Cache{corev1.NewCacheClient(conn)}
	core.Events = newEvents(corev1.NewEventsClient(conn), core.Name)
	return &core
}

// Config decodes the module's configuration (config.yaml, modules.overrides.<name>.config) into a struct. Fields that are
// not set there keep the values that into already has; a key that into does not know is an error.
func (c *Core) Config(into any) error {
	if len(c.config) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(c.config))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decode the configuration of %s: %w (fix: correct modules.overrides.%s.config)", c.Name, err, c.Name)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("the configuration of %s holds more than one value", c.Name)
	}
	return nil
}

// Dependency is the state of a module that this one requires, or uses optionally.
type Dependency struct {
	Name    string
	Version string // empty if it is not installed
	Ready   bool   // whether an instance can be called now
	Reason  string // why it is not ready
	// Instances is how many can be called now, as Resolve and Watch tell; Dependency leaves it out.
	Instances int
}

// Dependency asks the core about a module that this one's manifest names under requires. Any other name is refused with
// codes.PermissionDenied.
func (c *Core) Dependency(ctx context.Context, name string) (Dependency, error) {
	answer, err := c.registry.GetModule(ctx, &corev1.GetModuleRequest{Name: name})
	if err != nil {
		return Dependency{}, fmt.Errorf("ask about module %s: %w", name, err)
	}
	return dependencyOf(answer, 0), nil
}

// Resolve asks the core which module provides a gRPC service, by its full name, that this one's manifest names under
// services.consumes; Module makes a connection of the name. If several do, it is one that can be called, and a required one
// rather than an optional. Errors: codes.PermissionDenied if the manifest does not consume the service, codes.NotFound if no
// installed module that it requires provides it.
func (c *Core) Resolve(ctx context.Context, service string) (Dependency, error) {
	answer, err := c.registry.Resolve(ctx, &corev1.ResolveRequest{Service: service})
	if err != nil {
		return Dependency{}, fmt.Errorf("find who provides %s: %w", service, err)
	}
	return dependencyOf(answer.GetModule(), answer.GetInstances()), nil
}

// Watch yields the state of a module that this one's manifest names under requires: at once, and after each change, until ctx
// ends or the loop is left. Changes that follow each other closely may come as one. An error ends it: codes.PermissionDenied
// for a module that the manifest does not name, ctx's, or that the core cannot be reached.
func (c *Core) Watch(ctx context.Context, name string) iter.Seq2[Dependency, error] {
	return func(yield func(Dependency, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the stream
		stream, err := c.registry.Watch(ctx, &corev1.WatchRequest{Name: name})
		for err == nil {
			var now *corev1.WatchResponse
			if now, err = stream.Recv(); err == nil && !yield(dependencyOf(now.GetModule(), now.GetInstances()), nil) {
				return
			}
		}
		yield(Dependency{}, fmt.Errorf("watch module %s: %w", name, err))
	}
}

func dependencyOf(m *corev1.GetModuleResponse, instances uint32) Dependency {
	return Dependency{
		Name: m.GetName(), Version: m.GetVersion(), Ready: m.GetReady(), Reason: m.GetReason(), Instances: int(instances),
	}
}
