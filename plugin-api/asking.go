package pluginapi

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/wire"
)

// asking is the connection to the core. What a module asks within a request, it asks on behalf of whoever sent that.
type asking struct{ conn grpc.ClientConnInterface }

// Invoke implements grpc.ClientConnInterface.
//
//nolint:revive // argument-limit: gRPC's signature
func (a asking) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return a.conn.Invoke(withTicket(ctx), method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (a asking) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (
	grpc.ClientStream, error,
) {
	return a.conn.NewStream(withTicket(ctx), desc, method, opts...)
}

func withTicket(ctx context.Context) context.Context {
	if call := link.FromContext(ctx); call != nil && call.Ticket != "" {
		return metadata.AppendToOutgoingContext(ctx, wire.MetadataTicket, call.Ticket)
	}
	return ctx
}

// nobody is the connection of a Core without a platform.
type nobody struct{}

// Invoke implements grpc.ClientConnInterface.
//
//nolint:revive // argument-limit: gRPC's signature
func (nobody) Invoke(_ context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	return status.Errorf(codes.Unavailable, "%s: there is no platform behind this Core", method)
}

// NewStream implements grpc.ClientConnInterface.
func (nobody) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Errorf(codes.Unavailable, "%s: there is no platform behind this Core", method)
}
