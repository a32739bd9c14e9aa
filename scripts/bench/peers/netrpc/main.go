// Command netrpc is the contestant that Mattermost's plugins resemble: a gin front that calls ServeHTTP in the plugin by net/rpc.
// The plugin reads the body from a stream of its own, and writes its answer by calling the front back, on a net/rpc connection
// that is made for this request. It can upgrade connections, but not flush.
package main

import (
	"errors"
	"fmt"
	"net/rpc"
	"os"

	"github.com/hashicorp/go-plugin"

	"github.com/platformd/platformd/scripts/bench/internal/front"
	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/launch"
)

func main() {
	handshake, plugins := launch.Handshake(), plugin.PluginSet{launch.Name: glue{}}
	if os.Getenv(handshake.MagicCookieKey) != "" {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins, Logger: launch.Logger()})
		return
	}
	launch.Main(&plugin.ClientConfig{
		HandshakeConfig: handshake, Plugins: plugins, AllowedProtocols: []plugin.Protocol{plugin.ProtocolNetRPC},
	}, launch.Name, forward)
}

func forward(client any) (front.Forward, error) {
	c, ok := client.(*caller)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T, not a caller", client)
	}
	return front.Through(c.serve), nil
}

// glue implements plugin.Plugin.
type glue struct{}

// Server implements plugin.Plugin for the plugin's half.
func (glue) Server(broker *plugin.MuxBroker) (any, error) {
	if broker == nil {
		return nil, errors.New("go-plugin offers no broker")
	}
	return &Answerer{handler: handler.Mux(), broker: broker}, nil
}

// Client implements plugin.Plugin for the front's half.
func (glue) Client(broker *plugin.MuxBroker, client *rpc.Client) (any, error) {
	return &caller{client: client, broker: broker}, nil
}
