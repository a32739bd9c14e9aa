package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/problem"
	"github.com/platformd/platformd/plugin-api/wire"
)

const metadataTraceParent = "traceparent"

// callWindow and callsWindow are how much of a call, and of all calls of a connection, may wait to be read. gRPC would find out
// by itself how much is best, with a ping for each message; on a unix socket those cost more than they tell.
const (
	callWindow  = 256 << 10
	callsWindow = 1 << 20
)

// Module returns a connection to the services of another module, for the clients that protoc-gen-go-grpc makes:
//
//	billingv1.NewBillingServiceClient(core.Module("billing"))
//
// module.yaml must name the module under requires, and what is called under services.consumes; any other call gets
// codes.PermissionDenied. While the module restarts, a call waits; one that changes nothing, by its option idempotency_level, is
// made again if the module dies over it. Give every call a deadline. With the context of a request, or of a call to this
// module, it is made on behalf of whoever sent that; with any other, on behalf of this module itself.
//
// Errors are a *CallError. A handler may return one as it is.
func (c *Core) Module(name string) grpc.ClientConnInterface {
	return &moduleConn{name: name, conn: c.calls}
}

// openCalls connects with the core's socket for calls, on the first of them; an empty path means that there are none.
func openCalls(socket string) (*grpc.ClientConn, error) {
	if socket == "" {
		return nil, nil
	}
	conn, err := grpc.NewClient("passthrough:///platformd",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket is this module's alone
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage)),
		grpc.WithStaticStreamWindowSize(callWindow), grpc.WithStaticConnWindowSize(callsWindow),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, fmt.Errorf("connect with other modules: %w", err)
	}
	return conn, nil
}

// moduleConn is the connection to one module.
type moduleConn struct {
	name string
	conn grpc.ClientConnInterface // of all calls; nil: the module makes none
}

// Invoke implements grpc.ClientConnInterface.
//
//nolint:revive // argument-limit: gRPC's signature
func (m *moduleConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if m.conn == nil {
		return m.consumesNothing(method)
	}
	var trailer metadata.MD
	opts = append(slices.Clip(opts), grpc.Trailer(&trailer))
	return m.failed(method, m.conn.Invoke(m.addressed(ctx), method, args, reply, opts...), trailer)
}

// NewStream implements grpc.ClientConnInterface.
func (m *moduleConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (
	grpc.ClientStream, error,
) {
	if m.conn == nil {
		return nil, m.consumesNothing(method)
	}
	stream, err := m.conn.NewStream(m.addressed(ctx), desc, method, opts...)
	if err != nil {
		return nil, m.failed(method, err, nil)
	}
	return &callStream{ClientStream: stream, to: m, method: method}, nil
}

func (m *moduleConn) consumesNothing(method string) error {
	err := status.Error(codes.PermissionDenied, "this module calls no other (fix: name the service under services.consumes in its "+
		"module.yaml, and the module that provides it under requires)")
	return m.failed(method, err, metadata.Pairs(wire.MetadataCore, "1"))
}

// addressed says for whom a call is, on whose behalf, and to which trace it belongs.
func (m *moduleConn) addressed(ctx context.Context) context.Context {
	ctx = metadata.AppendToOutgoingContext(withTicket(ctx), wire.MetadataModule, m.name)
	if trace := TraceParentFrom(ctx); trace != "" {
		if own, _ := metadata.FromOutgoingContext(ctx); len(own.Get(metadataTraceParent)) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, metadataTraceParent, trace)
		}
	}
	return ctx
}

func (m *moduleConn) failed(method string, err error, trailer metadata.MD) error {
	if err == nil {
		return nil
	}
	return &CallError{
		Module: m.name, Method: strings.TrimPrefix(method, "/"), status: status.Convert(err),
		byCore: len(trailer.Get(wire.MetadataCore)) > 0,
	}
}

// callStream names the module in the errors of a stream.
type callStream struct {
	grpc.ClientStream
	to     *moduleConn
	method string
}

// Header implements grpc.ClientStream.
func (s *callStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	return header, s.failed(err, nil)
}

// CloseSend implements grpc.ClientStream.
func (s *callStream) CloseSend() error { return s.failed(s.ClientStream.CloseSend(), nil) }

// SendMsg implements grpc.ClientStream.
func (s *callStream) SendMsg(m any) error { return s.failed(s.ClientStream.SendMsg(m), nil) }

// RecvMsg implements grpc.ClientStream.
func (s *callStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		return nil
	}
	return s.failed(err, s.Trailer())
}

func (s *callStream) failed(err error, trailer metadata.MD) error {
	if errors.Is(err, io.EOF) {
		return err // the end, not an error
	}
	return s.to.failed(s.method, err, trailer)
}

// CallError says how a call to another module failed. status.Code, status.Convert and errors.As work on it.
type CallError struct {
	Module string
	Method string // package.Service/Method

	status *status.Status
	byCore bool // it is not the other module's answer
}

// Error implements error.
func (e *CallError) Error() string {
	return fmt.Sprintf("call %s of module %s: %s: %s", e.Method, e.Module, e.status.Code(), e.status.Message())
}

// GRPCStatus is the status that the other module answered, or the core for it.
func (e *CallError) GRPCStatus() *status.Status { return e.status }

// answer is what a client gets of a handler that returns the error. What the other module says about the request, it says to
// everybody. That it cannot be reached is told without the words, which are for operators; and that this module called wrongly,
// or must not call, is no fault of the client's.
func (e *CallError) answer() (answer *problem.Problem, public bool) {
	code := e.status.Code()
	switch {
	case code == codes.Unavailable, e.byCore && code == codes.ResourceExhausted:
		return problem.New(http.StatusServiceUnavailable, "unavailable",
			fmt.Sprintf("this needs the module %s, which cannot be reached at the moment: try again later", e.Module)), true
	case code == codes.DeadlineExceeded:
		return problem.New(http.StatusGatewayTimeout, "deadline_exceeded",
			fmt.Sprintf("this needs the module %s, which did not answer in time: try again later", e.Module)), true
	case e.byCore && code != codes.Canceled, code == codes.Unauthenticated, code == codes.Unimplemented:
		return problem.New(http.StatusInternalServerError, "internal", "internal error"), false
	}
	return problem.FromError(e.status.Err())
}
