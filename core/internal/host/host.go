// Package host is what a module may ask of the core: the gRPC services on its own brokered connection.
//
// Floor 4. Who asks is the connection's owner, fixed when the services are made for it; the owner's manifest is the ceiling.
// It must not trust a message field for either.
package host

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/manifest"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// Deps is what the services look things up in.
type Deps struct {
	// Version returns the installed version of a module; "" if it is not installed.
	Version func(module string) string
	// Ready returns nil if a module can be called now, else why not.
	Ready func(module string) error
}

// Services returns a function that registers what caller may ask on a server that only caller can reach.
func Services(deps Deps, caller *manifest.Manifest) func(*grpc.Server) {
	return func(server *grpc.Server) {
		corev1.RegisterRegistryServer(server, &registry{deps: deps, caller: caller})
	}
}

type registry struct {
	corev1.UnimplementedRegistryServer
	deps   Deps
	caller *manifest.Manifest
}

// GetModule implements corev1.RegistryServer.
func (s *registry) GetModule(_ context.Context, req *corev1.GetModuleRequest) (*corev1.GetModuleResponse, error) {
	name := req.GetName()
	if !dependsOn(s.caller, name) {
		return nil, status.Errorf(codes.PermissionDenied,
			"%s does not name %q under requires (fix: add it to requires.modules or requires.optional in module.yaml)",
			s.caller.Name, name)
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
