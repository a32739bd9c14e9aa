package wire

import "google.golang.org/grpc"

// How far one half sends ahead of what the other reads, in bytes, of one call and of all. They are fixed: to find out better
// ones, gRPC sends a ping with almost every message of a quiet connection, and each wakes both processes once more.
const (
	callWindow = 1 << 20
	connWindow = 4 << 20
)

// ServerOptions are those of a server on a connection between the core and a module.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.StaticStreamWindowSize(callWindow), grpc.StaticConnWindowSize(connWindow),
	}
}

// DialOptions are those of its client.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
		grpc.WithStaticStreamWindowSize(callWindow), grpc.WithStaticConnWindowSize(connWindow),
	}
}
