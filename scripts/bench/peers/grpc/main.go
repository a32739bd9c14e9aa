// Command grpc is the contestant that most platforms on go-plugin resemble: a gin front that reads a request whole, sends it
// in one unary gRPC call, and writes the answer whole.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/platformd/platformd/scripts/bench/internal/front"
	"github.com/platformd/platformd/scripts/bench/internal/launch"
)

// maxMessage has room for an upload; gRPC's default of 4 MiB has not.
const maxMessage = 64 << 20

func main() {
	handshake, plugins := launch.Handshake(), plugin.PluginSet{launch.Name: glue{}}
	if os.Getenv(handshake.MagicCookieKey) != "" {
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: handshake, Plugins: plugins, Logger: launch.Logger(),
			GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
				return grpc.NewServer(append(options, grpc.MaxRecvMsgSize(maxMessage))...)
			},
		})
		return
	}
	launch.Main(&plugin.ClientConfig{
		HandshakeConfig: handshake, Plugins: plugins, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
	}, launch.Name, forward)
}

func forward(client any) (front.Forward, error) {
	conn, ok := client.(*grpc.ClientConn)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T, not a connection", client)
	}
	return front.Through(caller{conn}.serve), nil
}

type glue struct{ plugin.NetRPCUnsupportedPlugin }

var _ plugin.GRPCPlugin = glue{}

// GRPCServer implements plugin.GRPCPlugin.
func (glue) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(description(), newAnswerer())
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (glue) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}
