package wire

import "google.golang.org/grpc"

// How far one half sends ahead of what the other reads, in bytes, of one call and of all. They are fixed: to find out better
// ones, gRPC sends a ping with almost every message of a quiet connection, and each wakes both processes once more.
const (
	callWindow = 1 << 20
	connWindow = 4 << 20
)

// workers is how many goroutines of a server handle one call after the other. A new one for each call would begin with a small
// stack, and copy it to a larger one again and again.
const workers = 4

// ServerOptions are those of a server on a connection between the core and a module.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.StaticStreamWindowSize(callWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.NumStreamWorkers(workers),
	}
}

// DialOptions are those of its client.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
		grpc.WithStaticStreamWindowSize(callWindow), grpc.WithStaticConnWindowSize(connWindow),
	}
}
