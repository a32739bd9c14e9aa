package host

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// maxWatches bounds the open streams of one module.
const maxWatches = 64

type registryServer struct {
	corev1.UnimplementedRegistryServer
	*caller
	watches atomic.Int64
}

// GetModule implements corev1.RegistryServer.
func (s *registryServer) GetModule(_ context.Context, req *corev1.GetModuleRequest) (*corev1.GetModuleResponse, error) {
	if err := s.mayKnow(req.GetName()); err != nil {
		return nil, err
	}
	return s.describe(req.GetName()), nil
}

func (s *registryServer) mayKnow(module string) error {
	if s.manifest.DependsOn(module) {
		return nil
	}
	return status.Errorf(codes.PermissionDenied,
		"%s does not name %q under requires (fix: add it to requires.modules or requires.optional in module.yaml)",
		s.manifest.Name, module)
}

func (s *registryServer) describe(module string) *corev1.GetModuleResponse {
	answer := &corev1.GetModuleResponse{Name: module, Version: s.deps.Version(module), Ready: true}
	if err := s.deps.Ready(module); err != nil {
		answer.Ready, answer.Reason = false, err.Error()
	}
	return answer
}

// Resolve implements corev1.RegistryServer.
func (s *registryServer) Resolve(_ context.Context, req *corev1.ResolveRequest) (*corev1.ResolveResponse, error) {
	service := req.GetService()
	if !slices.Contains(s.manifest.Services.Consumed(), service) {
		return nil, status.Errorf(codes.PermissionDenied,
			"%s does not name %.255q under services.consumes (fix: add it in module.yaml)", s.manifest.Name, service)
	}
	var best *corev1.ResolveResponse
	for _, module := range s.dependencies() {
		if !s.deps.Provides(module, service) {
			continue
		}
		_, instances := s.deps.State(module)
		if best == nil || best.GetInstances() == 0 && instances > 0 {
			best = &corev1.ResolveResponse{Module: s.describe(module), Instances: count(instances)}
		}
	}
	if best == nil {
		return nil, status.Errorf(codes.NotFound, "no installed module that %s requires provides %s (fix: install one, and name it "+
			"under requires)", s.manifest.Name, service)
	}
	return best, nil
}

// dependencies are the required modules first, then the optional ones.
func (s *registryServer) dependencies() []string {
	requires := s.manifest.Requires
	return append(slices.Sorted(maps.Keys(requires.Modules)), slices.Sorted(maps.Keys(requires.Optional))...)
}

// Watch implements corev1.RegistryServer.
func (s *registryServer) Watch(req *corev1.WatchRequest, stream grpc.ServerStreamingServer[corev1.WatchResponse]) error {
	if err := s.mayKnow(req.GetName()); err != nil {
		return err
	}
	if s.watches.Add(1) > maxWatches {
		s.watches.Add(-1)
		return status.Errorf(codes.ResourceExhausted, "%s watches %d times already (fix: end watches with their contexts)",
			s.manifest.Name, maxWatches)
	}
	defer s.watches.Add(-1)
	var sent *corev1.WatchResponse
	for {
		changed, instances := s.deps.State(req.GetName()) // before the rest is looked at, so that no change is missed
		now := &corev1.WatchResponse{Module: s.describe(req.GetName()), Instances: count(instances)}
		if sent == nil || !proto.Equal(now, sent) {
			if err := stream.Send(now); err != nil {
				return err
			}
			sent = now
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

func count(n int) uint32 { return uint32(max(0, min(n, 1<<20))) } //nolint:gosec // bounded
