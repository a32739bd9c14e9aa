package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

// The binaries that a suite can have built instead, with `go build -ldflags "-X main.variant=…"`.
const (
	// older serves the echo service as it was before it had Tell, and before Ask took a text.
	older = "older"
	// other serves another service instead of it.
	other = "other"
)

const (
	olderFile = "platformd/echo/v1/echo.proto"
	otherFile = "platformd/other/v1/other.proto"
)

// services returns what the variant serves.
func (p *parrot) services(variant string) (func(*grpc.Server), error) {
	empty, text := ".google.protobuf.Empty", ".google.protobuf.StringValue"
	count := &descriptorpb.MethodDescriptorProto{
		Name: proto.String(echo.Count), InputType: &text, OutputType: &text, ServerStreaming: proto.Bool(true),
	}
	ask := &descriptorpb.MethodDescriptorProto{Name: proto.String(echo.Ask), InputType: &empty, OutputType: &text}
	switch variant {
	case "":
		echo.Describe()
		return func(s *grpc.Server) { echo.Register(s, p.answer) }, nil
	case older:
		return p.serving(olderFile, "platformd.echo.v1", "EchoService", []*descriptorpb.MethodDescriptorProto{ask, count})
	case other:
		return p.serving(otherFile, "platformd.other.v1", "OtherService", []*descriptorpb.MethodDescriptorProto{ask})
	}
	return nil, fmt.Errorf("there is no variant %s (fix: build older, other, or none)", variant)
}

// serving describes a service of those methods, and serves it.
func (p *parrot) serving(file, pkg, name string, methods []*descriptorpb.MethodDescriptorProto) (func(*grpc.Server), error) {
	described, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: &file, Package: &pkg, Syntax: proto.String("proto3"),
		Dependency: []string{
			emptypb.File_google_protobuf_empty_proto.Path(), wrapperspb.File_google_protobuf_wrappers_proto.Path(),
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: &name, Method: methods}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return nil, err
	}
	desc := &grpc.ServiceDesc{ServiceName: pkg + "." + name, HandlerType: (*any)(nil), Metadata: file}
	for _, m := range methods {
		if m.GetServerStreaming() {
			desc.Streams = append(desc.Streams, grpc.StreamDesc{StreamName: m.GetName(), ServerStreams: true, Handler: countUp})
			continue
		}
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: m.GetName(), Handler: askNothing})
	}
	return func(s *grpc.Server) { s.RegisterService(desc, nil) }, protoregistry.GlobalFiles.RegisterFile(described)
}

//nolint:revive // context-as-argument: gRPC's signature
func askNothing(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := &emptypb.Empty{}
	if err := decode(in); err != nil {
		return nil, err
	}
	answer := func(context.Context, any) (any, error) { return wrapperspb.String("what?"), nil }
	return interceptor(ctx, in, &grpc.UnaryServerInfo{FullMethod: echo.Ask}, answer)
}

func countUp(_ any, stream grpc.ServerStream) error {
	in := &wrapperspb.StringValue{}
	return errors.Join(stream.RecvMsg(in), stream.SendMsg(in))
}
