package plugintest

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

// ServeHTTP1 is pluginapi.Serve for a module that offers no link, so that the core speaks HTTP/1.1 with it, as it does with
// those in other languages. It is for tests and benchmarks of the core, and leaves out what they do not need.
func ServeHTTP1(m pluginapi.Module) {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: os.Stderr, JSONFormat: true})
	var dial func(uint32) (*grpc.ClientConn, error) // set before the first call
	server, err := pluginapi.NewServer(m, log, func(id uint32) (*grpc.ClientConn, error) { return dial(id) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: wire.Handshake(),
		Plugins: wire.Serving(func(broker *plugin.GRPCBroker) wire.Server {
			dial = broker.Dial
			return withoutLink{server}
		}),
		GRPCServer: plugin.DefaultGRPCServer,
		Logger:     log,
	})
}

// withoutLink hides that the SDK speaks the link.
type withoutLink struct{ wire.Server }

// Describe implements modulev1.ModuleServer.
func (s withoutLink) Describe(ctx context.Context, req *modulev1.DescribeRequest) (*modulev1.DescribeResponse, error) {
	answer, err := s.Server.Describe(ctx, req)
	if err == nil {
		answer.Link = 0
	}
	return answer, err
}
