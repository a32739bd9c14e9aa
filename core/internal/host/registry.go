package host

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/manifest"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

type registryServer struct {
	corev1.UnimplementedRegistryServer
	*caller
}

// GetModule implements corev1.RegistryServer.
func (s *registryServer) GetModule(_ context.Context, req *corev1.GetModuleRequest) (*corev1.GetModuleResponse, error) {
	name := req.GetName()
	if !dependsOn(s.manifest, name) {
		return nil, status.Errorf(codes.PermissionDenied,
			"%s does not name %q under requires (fix: add it to requires.modules or requires.optional in module.yaml)",
			s.manifest.Name, name)
	}
	answer := &corev1.GetModuleResponse{Name: name, Version: s.deps.Version(name), Ready: true}
	if err := s.deps.Ready(name); err != nil {
		answer.Ready, answer.Reason = false, err.Error()
	}
	return answer, nil
}

func dependsOn(m *manifest.Manifest, name string) bool {
	_, required := m.Requires.Modules[name]
	_, optional := m.Requires.Optional[name]
	return required || optional
}
