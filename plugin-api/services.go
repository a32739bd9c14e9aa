package pluginapi

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

type callerKey struct{}

// CallerFrom returns the name of the module whose call to one of this module's services ctx belongs to, as the core knows it; ""
// outside of such a call. On whose behalf it calls, PrincipalFrom tells.
func CallerFrom(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}

// services serves the module's gRPC services to the core, which passes on what other modules call.
type services struct {
	secret []byte // as it stands in the metadata
	log    hclog.Logger
	server *grpc.Server
	served chan struct{} // closed when nothing is served any more
}

// openServices opens the socket for services, if the manifest provides some. It comes after the module's own Init, whose work the
// services may use.
func (s *server) openServices(ctx context.Context, req *modulev1.InitRequest) error {
	socket := req.GetServicesSocket()
	if socket == "" && s.module.Services != nil {
		return status.Error(codes.FailedPrecondition, "the binary has Services, and module.yaml provides none (fix: name them under "+
			"services.provides)")
	}
	if socket == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("open the socket for services: %w", err)
	}
	s.services = newServices(s.module.Services, req.GetDataSecret(), s.log)
	go s.services.serve(listener)
	return nil
}

func newServices(register func(*grpc.Server), secret []byte, log hclog.Logger) *services {
	s := &services{
		secret: []byte(base64.RawURLEncoding.EncodeToString(secret)), log: log, served: make(chan struct{}),
	}
	s.server = grpc.NewServer(
		grpc.MaxRecvMsgSize(wire.MaxMessage), grpc.StaticStreamWindowSize(callWindow), grpc.StaticConnWindowSize(callsWindow),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)
	if register != nil {
		register(s.server)
	}
	if _, own := s.server.GetServiceInfo()[reflectionv1.ServerReflection_ServiceDesc.ServiceName]; !own {
		reflectionv1.RegisterServerReflectionServer(s.server, reflection.NewServerV1(reflection.ServerOptions{Services: s.server}))
	}
	return s
}

func (s *services) serve(listener net.Listener) {
	defer close(s.served)
	if err := s.server.Serve(listener); err != nil {
		s.log.Error("the module's services are not served any more", "error", err)
	}
}

// drain takes no more calls, and waits for those that run.
func (s *services) drain(ctx context.Context) error {
	if s == nil {
		return nil
	}
	idle := make(chan struct{})
	go func() { defer close(idle); s.server.GracefulStop() }()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		s.server.Stop() // ends the calls, and GracefulStop with them
		<-idle
		return fmt.Errorf("wait for the calls of other modules: %w", ctx.Err())
	}
}

func (s *services) close() {
	if s == nil {
		return
	}
	s.server.Stop()
	<-s.served
}

func (s *services) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (
	answer any, err error,
) {
	ctx, err = s.admit(ctx)
	if err != nil {
		return nil, err
	}
	err = s.run(info.FullMethod, func() error { answer, err = next(ctx, req); return err })
	return answer, err
}

func (s *services) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := s.admit(stream.Context())
	if err != nil {
		return err
	}
	return s.run(info.FullMethod, func() error { return next(srv, &admitted{ServerStream: stream, ctx: ctx}) })
}

// admitted is a stream whose context says who calls.
type admitted struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // gRPC's way to hand it on
}

// Context implements grpc.ServerStream.
func (a *admitted) Context() context.Context { return a.ctx }

// admit takes a call from the core alone, and puts what the core says of it where handlers find it. What is between the core and
// this module is not for them.
func (s *services) admit(ctx context.Context) (context.Context, error) {
	said, _ := metadata.FromIncomingContext(ctx) // a copy
	secret := said.Get(wire.MetadataSecret)
	if len(secret) != 1 || subtle.ConstantTimeCompare([]byte(secret[0]), s.secret) != 1 {
		return nil, status.Error(codes.Unauthenticated, "only the platform may call this module (fix: call it with core.Module)")
	}
	call := &link.Call{
		Principal: link.Anonymous(), Ticket: first(said, wire.MetadataTicket), TraceParent: first(said, metadataTraceParent),
	}
	if text := first(said, wire.MetadataPrincipal); text != "" {
		principal, err := wire.ParsePrincipal(text)
		if err != nil {
			return nil, status.Error(codes.Unauthenticated, err.Error())
		}
		call.Principal = principal
	}
	caller := first(said, wire.MetadataCaller)
	for name := range said {
		if strings.HasPrefix(name, wire.MetadataPrefix) {
			delete(said, name)
		}
	}
	ctx = context.WithValue(link.With(ctx, call), callerKey{}, caller)
	return metadata.NewIncomingContext(ctx, said), nil
}

func first(said metadata.MD, name string) string {
	if values := said.Get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// run keeps a panic of the author's code from ending the process, and what only this module should know from the caller.
func (s *services) run(method string, handle func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = s.told(method, recovered(cause))
		}
	}()
	if err := handle(); err != nil {
		return s.told(method, err)
	}
	return nil
}

// told is the error as the caller gets it: a status as it was made, without what it was wrapped in; nothing of any other.
func (s *services) told(method string, err error) error {
	var carrier interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &carrier):
		return carrier.GRPCStatus().Err()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case errors.Is(err, http.ErrAbortHandler):
		return status.Error(codes.Aborted, "the module broke the call off")
	}
	s.log.Error("a service failed", "method", method, "error", err)
	return status.Error(codes.Internal, "internal error")
}
