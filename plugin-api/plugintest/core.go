package plugintest

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/manifest"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// core is the core as the module sees it: its gRPC services, in memory.
type core struct {
	corev1.UnimplementedRegistryServer

	manifest  *manifest.Manifest
	installed map[string]pluginapi.Dependency
	listener  *bufconn.Listener
	server    *grpc.Server
	served    sync.WaitGroup
}

func newCore(m *manifest.Manifest, dependencies []pluginapi.Dependency) *core {
	const buffer = 64 << 10
	c := &core{
		manifest: m, installed: map[string]pluginapi.Dependency{},
		listener: bufconn.Listen(buffer), server: grpc.NewServer(),
	}
	for _, dependency := range dependencies {
		c.installed[dependency.Name] = dependency
	}
	corev1.RegisterRegistryServer(c.server, c)
	c.served.Go(func() { _ = c.server.Serve(c.listener) }) // it fails only by being stopped
	return c
}

// GetModule implements corev1.RegistryServer.
func (c *core) GetModule(_ context.Context, req *corev1.GetModuleRequest) (*corev1.GetModuleResponse, error) {
	name := req.GetName()
	_, required := c.manifest.Requires.Modules[name]
	_, optional := c.manifest.Requires.Optional[name]
	if !required && !optional {
		return nil, status.Errorf(codes.PermissionDenied, "module.yaml does not name %q under requires (fix: add it)", name)
	}
	dependency, installed := c.installed[name]
	if !installed {
		return &corev1.GetModuleResponse{Name: name, Reason: "not installed; name it in plugintest.Options.Dependencies"}, nil
	}
	return &corev1.GetModuleResponse{
		Name: name, Version: dependency.Version, Ready: dependency.Ready, Reason: dependency.Reason,
	}, nil
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
