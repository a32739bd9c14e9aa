package plugintest

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
)

// Services returns a connection to the services that the module provides, for a client that protoc-gen-go-grpc made. Its calls
// come from the module named caller, on behalf of principal, who holds the permissions; see Options.Permissions.
func (s *Server) Services(caller string, principal pluginapi.Principal, permissions ...string) grpc.ClientConnInterface {
	s.t.Helper()
	if s.services == nil {
		s.t.Fatalf("module.yaml provides no services (fix: name them under services.provides)")
	}
	token, err := s.core.callers.admit(principal, permissions)
	if err != nil {
		s.t.Fatalf("%v", err)
	}
	who, _ := s.core.callers.find(token)
	return &provided{conn: s.services, as: introduction{caller: caller, who: who, secret: s.init.GetDataSecret()}}
}

// provided introduces each call as the core does.
type provided struct {
	conn *grpc.ClientConn
	as   introduction
}

// Invoke implements grpc.ClientConnInterface.
//
//nolint:revive // argument-limit: gRPC's signature
func (p *provided) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, err := introduced(ctx, p.as)
	if err != nil {
		return err
	}
	return p.conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (p *provided) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (
	grpc.ClientStream, error,
) {
	ctx, err := introduced(ctx, p.as)
	if err != nil {
		return nil, err
	}
	return p.conn.NewStream(ctx, desc, method, opts...)
}

// compareServices refuses a module that serves anything else than its manifest says.
func (s *Server) compareServices(ctx context.Context) (err error) {
	if s.init.GetServicesSocket() == "" {
		return nil
	}
	if s.services, err = dialUnix(s.init.GetServicesSocket()); err != nil {
		return err
	}
	core := &provided{conn: s.services, as: introduction{who: caller{principal: link.Anonymous()}, secret: s.init.GetDataSecret()}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := reflectionv1.NewServerReflectionClient(core).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	list := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
	sendErr := stream.Send(list)
	answer, err := stream.Recv()
	if err != nil {
		return errors.Join(sendErr, err)
	}
	var served []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		served = append(served, service.GetName())
	}
	return s.manifest.CompareServices(served)
}
