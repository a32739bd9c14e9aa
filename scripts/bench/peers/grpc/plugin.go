package main

import (
	"bytes"
	"context"
	"net/http"

	httppb "google.golang.org/genproto/googleapis/rpc/http"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
)

const (
	service = "bench.HTTP"
	method  = "/" + service + "/Serve"
)

// answerer is the plugin's half.
type answerer struct{ handler http.Handler }

// server is what gRPC asks a service's type to be.
type server interface {
	Serve(ctx context.Context, req *httppb.HttpRequest) (*httppb.HttpResponse, error)
}

func newAnswerer() *answerer { return &answerer{handler.Mux()} }

// description is what protoc would generate for one unary call whose messages Google has defined.
func description() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*server)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Serve", Handler: handle}},
	}
}

//nolint:revive // gRPC wants srv first
func handle(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	req := &httppb.HttpRequest{}
	if err := decode(req); err != nil {
		return nil, err
	}
	return srv.(server).Serve(ctx, req) //nolint:errcheck // RegisterService has checked the type
}

// Serve implements server.
func (a *answerer) Serve(ctx context.Context, req *httppb.HttpRequest) (*httppb.HttpResponse, error) {
	r, err := http.NewRequestWithContext(ctx, req.GetMethod(), req.GetUri(), bytes.NewReader(req.GetBody()))
	if err != nil {
		return nil, err
	}
	for _, h := range req.GetHeaders() {
		r.Header.Add(h.GetKey(), h.GetValue())
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	a.handler.ServeHTTP(w, r)
	return &httppb.HttpResponse{Status: int32(w.status), Headers: toList(w.header), Body: w.body}, nil
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   []byte
}

// Header implements http.ResponseWriter.
func (w *recorder) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}
