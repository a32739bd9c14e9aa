// Package echo is a gRPC service with a method of each kind, for tests of calls between modules. It is described at run time, so
// that it needs no generated code; the registry of descriptors knows it like any other.
package echo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Service is the full name of the service. Its messages are texts.
const Service = "platformd.echo.v1.EchoService"

// The methods.
const (
	Ask     = "Ask"     // unary, changes nothing
	Tell    = "Tell"    // unary
	Count   = "Count"   // a stream of answers
	Collect = "Collect" // a stream of requests
	Chat    = "Chat"    // a stream both ways
)

const file = "platformd/echo/v1/echo.proto"

// Handler answers a call of any method.
type Handler func(ctx context.Context, call *Call) error

// Call is one call, as its callee sees it.
type Call struct {
	Method string
	// Receive returns io.EOF when the caller has said everything.
	Receive func() (string, error)
	Send    func(string) error
}

// Register makes the service known to the registry of descriptors, and serves it.
func Register(server *grpc.Server, handler Handler) {
	Describe()
	server.RegisterService(describe(handler), nil)
}

// Describe makes the service known to the registry of descriptors, as importing generated code would. Only the first call does
// anything; it belongs at the beginning of main or TestMain: protobuf's registry can deadlock if it is added to while it is read.
func Describe() { describeOnce() }

// describeOnce guards what is the process's own: protobuf's registry.
var describeOnce = sync.OnceFunc(func() {
	described, err := protodesc.NewFile(descriptor(), protoregistry.GlobalFiles)
	if err == nil {
		err = protoregistry.GlobalFiles.RegisterFile(described)
	}
	if err != nil {
		panic(fmt.Sprintf("describe %s: %v", Service, err)) // as generated code does; the descriptor is a constant
	}
})

func descriptor() *descriptorpb.FileDescriptorProto {
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String("EchoService")}
	for _, m := range methods() {
		level := descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
		if m.name == Ask {
			level = descriptorpb.MethodOptions_NO_SIDE_EFFECTS
		}
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name:            proto.String(m.name),
			InputType:       proto.String(".google.protobuf.StringValue"),
			OutputType:      proto.String(".google.protobuf.StringValue"),
			ClientStreaming: proto.Bool(m.client), ServerStreaming: proto.Bool(m.server),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: level.Enum()},
		})
	}
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String(file), Package: proto.String("platformd.echo.v1"), Syntax: proto.String("proto3"),
		Dependency: []string{wrapperspb.File_google_protobuf_wrappers_proto.Path()},
		Service:    []*descriptorpb.ServiceDescriptorProto{service},
	}
}

type method struct {
	name           string
	client, server bool // which side sends a stream
}

func methods() []method {
	return []method{{Ask, false, false}, {Tell, false, false}, {Count, false, true}, {Collect, true, false}, {Chat, true, true}}
}

// describe serves every method as a stream: on the wire a unary one is a stream of one message.
func describe(handler Handler) *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: Service, Metadata: file}
	for _, m := range methods() {
		if !m.client && !m.server {
			desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: m.name, Handler: unary(m.name, handler)})
			continue
		}
		desc.Streams = append(desc.Streams, grpc.StreamDesc{
			StreamName: m.name, ClientStreams: m.client, ServerStreams: m.server,
			Handler: func(_ any, stream grpc.ServerStream) error {
				return handler(stream.Context(), &Call{
					Method:  m.name,
					Receive: func() (string, error) { return receive(stream.RecvMsg) },
					Send:    func(text string) error { return stream.SendMsg(wrapperspb.String(text)) },
				})
			},
		})
	}
	return desc
}

func unary(name string, handler Handler) grpc.MethodHandler {
	return func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		request := &wrapperspb.StringValue{}
		if err := decode(request); err != nil {
			return nil, err
		}
		run := func(ctx context.Context, _ any) (any, error) {
			answer := &wrapperspb.StringValue{}
			received := false
			err := handler(ctx, &Call{
				Method: name,
				Receive: func() (string, error) {
					if received {
						return "", io.EOF
					}
					received = true
					return request.GetValue(), nil
				},
				Send: func(text string) error { answer.Value = text; return nil },
			})
			return answer, err
		}
		if interceptor == nil {
			return run(ctx, request)
		}
		return interceptor(ctx, request, &grpc.UnaryServerInfo{FullMethod: "/" + Service + "/" + name}, run)
	}
}

func receive(next func(any) error) (string, error) {
	m := &wrapperspb.StringValue{}
	err := next(m)
	return m.GetValue(), err
}

// Do calls a method with the texts, and returns the answers.
func Do(ctx context.Context, conn grpc.ClientConnInterface, name string, texts ...string) ([]string, error) {
	full := "/" + Service + "/" + name
	if name == Ask || name == Tell {
		answer := &wrapperspb.StringValue{}
		if err := conn.Invoke(ctx, full, wrapperspb.String(texts[0]), answer); err != nil {
			return nil, err
		}
		return []string{answer.GetValue()}, nil
	}
	stream, err := Open(ctx, conn, name)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		if err := stream.Send(text); err != nil {
			break // Receive tells why
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var answers []string
	for {
		answer, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		answers = append(answers, answer)
	}
}

// Stream is the caller's end of a call of Count, Collect or Chat.
type Stream struct{ grpc.ClientStream }

// Open begins a call.
func Open(ctx context.Context, conn grpc.ClientConnInterface, name string) (*Stream, error) {
	for _, m := range methods() {
		if m.name == name {
			desc := &grpc.StreamDesc{StreamName: name, ClientStreams: m.client, ServerStreams: m.server}
			stream, err := conn.NewStream(ctx, desc, "/"+Service+"/"+name)
			return &Stream{stream}, err
		}
	}
	return nil, fmt.Errorf("%s has no method %s", Service, name)
}

// Send sends one text.
func (s *Stream) Send(text string) error { return s.SendMsg(wrapperspb.String(text)) }

// Receive returns the next text, or io.EOF.
func (s *Stream) Receive() (string, error) { return receive(s.RecvMsg) }
