package plugintest

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// core is the core as the module sees it: its gRPC services, in memory, as far as the manifest's grants allow.
type core struct {
	corev1.UnimplementedRegistryServer

	manifest  *manifest.Manifest
	installed map[string]pluginapi.Dependency
	provided  map[string][]string // services by the modules of Options.Provide
	users     []pluginapi.User
	callers   *callers
	listener  *bufconn.Listener
	server    *grpc.Server
	served    sync.WaitGroup

	publishing *guard.Publishing

	mu        sync.Mutex // guards the rest
	written   []Written
	published []pluginapi.Event
}

// newCore makes the core of one module, whose folder is dir.
func newCore(m *manifest.Manifest, dir string, o Options) (*core, error) {
	const buffer = 64 << 10
	policies, err := guard.Policies()
	if err != nil {
		return nil, err
	}
	publishing, err := guard.NewPublishing(m, func(path string) (*jsonschema.Resolved, error) {
		return readSchema(filepath.Join(dir, filepath.FromSlash(path)))
	})
	if err != nil {
		return nil, err
	}
	c := &core{
		publishing: publishing, manifest: m, installed: map[string]pluginapi.Dependency{}, users: o.Users,
		callers:  &callers{manifest: m, byToken: map[string]caller{}},
		listener: bufconn.Listen(buffer), server: grpc.NewServer(),
	}
	c.install(o)
	registrar := &guard.Registrar{Server: c.server, Module: m, Policies: policies}
	corev1.RegisterRegistryServer(registrar, c)
	corev1.RegisterAuthServer(registrar, &authServer{core: c})
	corev1.RegisterIdentityServer(registrar, &identityServer{core: c})
	corev1.RegisterAuthzServer(registrar, &authzServer{core: c})
	corev1.RegisterAuditServer(registrar, &auditServer{core: c})
	corev1.RegisterCacheServer(registrar, &cacheServer{values: map[string]cached{}})
	corev1.RegisterEventsServer(registrar, &eventsServer{core: c})
	c.served.Go(func() { _ = c.server.Serve(c.listener) }) // it fails only by being stopped
	return c, nil
}

func (c *core) declares(permission string) bool {
	return slices.ContainsFunc(c.manifest.Permissions, func(p manifest.Permission) bool { return p.Name == permission })
}

func (c *core) dial(uint32) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:core",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.listener.DialContext(ctx) }))
}

func (c *core) close() {
	c.server.Stop()
	c.served.Wait()
}
