package link

import (
	"context"
	"net"
)

// LendSocket returns the client's own TCP connection, ready for a module to take over: from then on nobody in the core reads
// or writes it. It is called once, when the connection has been hijacked; an error means that it must be cut.
type LendSocket func() (*net.TCPConn, error)

type socketKey struct{}

// WithSocket returns the context of a connection on which an upgrade may be answered with the client's own socket: whoever
// speaks the new protocol then speaks it with the client, and no byte of it passes the core. It is for
// http.Server.ConnContext, and for connections that carry nothing but plain HTTP/1.1.
func WithSocket(ctx context.Context, lend LendSocket) context.Context {
	return context.WithValue(ctx, socketKey{}, lend)
}

// SocketOf returns what WithSocket put into ctx, or nil.
func SocketOf(ctx context.Context) LendSocket {
	lend, _ := ctx.Value(socketKey{}).(LendSocket)
	return lend
}
