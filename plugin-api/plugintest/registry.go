package plugintest

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// install makes the other modules that the test speaks of. Who stands in for one is ready, unless Dependencies say otherwise.
func (c *core) install(o Options) {
	c.installed, c.provided = map[string]pluginapi.Dependency{}, map[string][]string{}
	for name, register := range o.Provide {
		c.installed[name] = pluginapi.Dependency{Name: name, Version: "0.0.0-test", Ready: true}
		tried := grpc.NewServer()
		register(tried)
		c.provided[name] = slices.Collect(maps.Keys(tried.GetServiceInfo()))
	}
	for _, dependency := range o.Dependencies {
		c.installed[dependency.Name] = dependency
	}
}

// GetModule implements corev1.RegistryServer.
func (c *core) GetModule(_ context.Context, req *corev1.GetModuleRequest) (*corev1.GetModuleResponse, error) {
	name := req.GetName()
	if !c.manifest.DependsOn(name) {
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

// Resolve implements corev1.RegistryServer.
func (c *core) Resolve(ctx context.Context, req *corev1.ResolveRequest) (*corev1.ResolveResponse, error) {
	service := req.GetService()
	if !slices.Contains(c.manifest.Services.Consumed(), service) {
		return nil, status.Errorf(codes.PermissionDenied, "module.yaml does not name %q under services.consumes (fix: add it)", service)
	}
	for _, name := range slices.Sorted(maps.Keys(c.provided)) {
		if slices.Contains(c.provided[name], service) {
			module, err := c.GetModule(ctx, &corev1.GetModuleRequest{Name: name})
			return &corev1.ResolveResponse{Module: module, Instances: instances(module)}, err
		}
	}
	return nil, status.Errorf(codes.NotFound, "nobody provides %s (fix: name who does in plugintest.Options.Provide)", service)
}

// Watch implements corev1.RegistryServer. Nothing changes here.
func (c *core) Watch(req *corev1.WatchRequest, stream grpc.ServerStreamingServer[corev1.WatchResponse]) error {
	module, err := c.GetModule(stream.Context(), &corev1.GetModuleRequest{Name: req.GetName()})
	if err != nil {
		return err
	}
	if err := stream.Send(&corev1.WatchResponse{Module: module, Instances: instances(module)}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return status.FromContextError(stream.Context().Err()).Err()
}

func instances(module *corev1.GetModuleResponse) uint32 {
	if module.GetReady() {
		return 1
	}
	return 0
}
