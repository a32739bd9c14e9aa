package contracts_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/platformd/platformd/core/internal/contracts"
)

// serve runs a server until the end of the test, and returns a connection to it.
func serve(t testing.TB, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	listener, server := bufconn.Listen(1<<16), grpc.NewServer()
	register(server)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///module", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(); server.Stop(); <-served })
	return conn
}

// names is what a server says that it serves.
type names map[string]grpc.ServiceInfo

func (n names) GetServiceInfo() map[string]grpc.ServiceInfo { return n }

// reflecting serves reflection alone, of files that need not be linked in.
func reflecting(t testing.TB, serves []string, files ...*descriptorpb.FileDescriptorProto) *grpc.ClientConn {
	t.Helper()
	linked, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: files})
	require.NoError(t, err)
	info := names{}
	for _, name := range serves {
		info[name] = grpc.ServiceInfo{}
	}
	return serve(t, func(s *grpc.Server) {
		reflectionv1.RegisterServerReflectionServer(s, reflection.NewServerV1(reflection.ServerOptions{
			Services: info, DescriptorResolver: linked,
		}))
	})
}

// provides is what a module serves, read over the wire.
func provides(t testing.TB, files ...*descriptorpb.FileDescriptorProto) *contracts.Provided {
	t.Helper()
	provided, err := contracts.Read(t.Context(), reflecting(t, []string{service}, files...))
	require.NoError(t, err)
	return provided
}

func TestWhatGRPCItselfServesDoesNotCount(t *testing.T) {
	t.Parallel()
	conn := serve(t, func(s *grpc.Server) {
		healthv1.RegisterHealthServer(s, health.NewServer())
		reflection.Register(s)
	})
	provided, err := contracts.Read(t.Context(), conn)
	require.NoError(t, err)
	require.Empty(t, provided.Services())
}

func TestMethods(t *testing.T) {
	t.Parallel()
	f := file(t, "")
	with := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel, client, server bool) {
		m := method(name, "Request", "Answer")
		m.Options = &descriptorpb.MethodOptions{IdempotencyLevel: level.Enum()}
		m.ClientStreaming, m.ServerStreaming = proto.Bool(client), proto.Bool(server)
		f.Service[0].Method = append(f.Service[0].Method, m)
	}
	with("Read", descriptorpb.MethodOptions_NO_SIDE_EFFECTS, false, false)
	with("Put", descriptorpb.MethodOptions_IDEMPOTENT, false, true)
	with("Do", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN, true, false)
	book := contracts.NewBook()
	_, known := book.Method("shop", "/shop.v1.Plans/Get")
	require.False(t, known)
	book.Provide("shop", provides(t, f))
	for name, want := range map[string]contracts.Method{
		"Get":  {},
		"Read": {Idempotent: true, ReadOnly: true},
		"Put":  {Idempotent: true, ServerStreams: true},
		"Do":   {ClientStreams: true},
	} {
		got, ok := book.Method("shop", "/shop.v1.Plans/"+name)
		require.True(t, ok)
		require.Equal(t, want, got, name)
	}
	_, known = book.Method("shop", "/shop.v1.Plans/None")
	require.False(t, known)
}

// Not every server sends what a file imports, nor protobuf's own files at all.
func TestImportsAreFetched(t *testing.T) {
	t.Parallel()
	common := &descriptorpb.FileDescriptorProto{
		Name: proto.String("shop/v1/common.proto"), Package: proto.String("shop.v1"),
		Dependency:  []string{"google/protobuf/timestamp.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Price")}},
	}
	plans := file(t, "Answer: 1 p Price")
	plans.Dependency = []string{"shop/v1/common.proto"}
	provided, err := contracts.Read(t.Context(), serve(t, func(s *grpc.Server) {
		reflectionv1.RegisterServerReflectionServer(s, &script{files: map[string]*descriptorpb.FileDescriptorProto{
			service: plans, "shop/v1/common.proto": common,
		}})
	}))
	require.NoError(t, err)
	require.Equal(t, []string{service}, provided.Services())
}

// script answers with one file at a time, as a test says.
type script struct {
	reflectionv1.UnimplementedServerReflectionServer

	files    map[string]*descriptorpb.FileDescriptorProto
	services []string
	hang     bool
	flood    bool
}

func (s *script) ServerReflectionInfo(stream reflectionv1.ServerReflection_ServerReflectionInfoServer) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if s.hang {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		if err := stream.Send(s.answer(req)); err != nil {
			return err
		}
	}
}

func (s *script) answer(req *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
	if _, isList := req.GetMessageRequest().(*reflectionv1.ServerReflectionRequest_ListServices); isList {
		list := &reflectionv1.ListServiceResponse{}
		for _, name := range append([]string{service}, s.services...) {
			list.Service = append(list.Service, &reflectionv1.ServiceResponse{Name: name})
		}
		return &reflectionv1.ServerReflectionResponse{
			MessageResponse: &reflectionv1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list},
		}
	}
	f := s.files[req.GetFileContainingSymbol()+req.GetFileByFilename()]
	if f == nil {
		return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_ErrorResponse{
			ErrorResponse: &reflectionv1.ErrorResponse{ErrorMessage: "not here"},
		}}
	}
	if s.flood {
		f = proto.CloneOf(f)
		f.Dependency = []string{req.GetFileByFilename() + "x"} // for ever
		s.files[f.GetDependency()[0]] = f
		f.Name = proto.String(req.GetFileByFilename())
	}
	encoded, _ := proto.Marshal(f)
	return &reflectionv1.ServerReflectionResponse{MessageResponse: &reflectionv1.ServerReflectionResponse_FileDescriptorResponse{
		FileDescriptorResponse: &reflectionv1.FileDescriptorResponse{FileDescriptorProto: [][]byte{encoded}},
	}}
}

func TestAServerThatCannotBeRead(t *testing.T) {
	t.Parallel()
	plans := file(t, "")
	imports := file(t, "")
	imports.Dependency = []string{"none.proto"}
	other := file(t, "")
	other.Service[0].Name = proto.String("Carts")
	large := file(t, "")
	large.Options = &descriptorpb.FileOptions{GoPackage: proto.String(strings.Repeat("x", 3<<20))}
	cases := map[string]*script{
		"not here":     {},
		`"none.proto"`: {files: map[string]*descriptorpb.FileDescriptorProto{service: imports}},
		"are missing":  {files: map[string]*descriptorpb.FileDescriptorProto{service: other}},
		"that name is of": {
			files:    map[string]*descriptorpb.FileDescriptorProto{service: plans, "shop.v1.Request": plans},
			services: []string{"shop.v1.Request"},
		},
		"more than 200": {services: make([]string, 201)},
		"larger than 4 MiB": {
			files: map[string]*descriptorpb.FileDescriptorProto{service: large, "a": large}, services: []string{"a"},
		},
		"more than 1000 file": {files: map[string]*descriptorpb.FileDescriptorProto{service: plans}, flood: true},
	}
	for i := range cases["more than 200"].services {
		cases["more than 200"].services[i] = "a.S" + strings.Repeat("x", i)
	}
	for want, s := range cases {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			conn := serve(t, func(server *grpc.Server) { reflectionv1.RegisterServerReflectionServer(server, s) })
			_, err := contracts.Read(t.Context(), conn)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "(fix: ")
		})
	}
	_, err := contracts.Read(t.Context(), serve(t, func(*grpc.Server) {}))
	require.ErrorContains(t, err, "Unimplemented")

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = contracts.Read(ctx, serve(t, func(server *grpc.Server) {
		reflectionv1.RegisterServerReflectionServer(server, &script{hang: true})
	}))
	require.ErrorContains(t, err, "DeadlineExceeded")
}
