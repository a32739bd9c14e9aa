// Command grafana is the contestant that Grafana's plugins resemble: a gin front that reads a request whole and calls
// CallResource, whose answer is streamed. The plugin is served by Grafana's own SDK.
package main

import (
	"fmt"
	"os"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/backend/grpcplugin"
	"github.com/grafana/grafana-plugin-sdk-go/backend/resource/httpadapter"
	"github.com/hashicorp/go-plugin"

	"github.com/platformd/platformd/scripts/bench/internal/front"
	"github.com/platformd/platformd/scripts/bench/internal/handler"
	"github.com/platformd/platformd/scripts/bench/internal/launch"
)

const resource = "resource" // as the SDK calls it

func main() {
	if os.Getenv(grpcplugin.MagicCookieKey) != "" {
		serve()
		return
	}
	launch.Main(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: grpcplugin.ProtocolVersion,
			MagicCookieKey:  grpcplugin.MagicCookieKey, MagicCookieValue: grpcplugin.MagicCookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{
			grpcplugin.ProtocolVersion: {resource: &grpcplugin.ResourceGRPCPlugin{}},
		},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
	}, resource, forward)
}

func serve() {
	opts := backend.ServeOpts{CallResourceHandler: httpadapter.New(handler.Mux())}
	err := backend.Serve(opts) //nolint:staticcheck // its successor Manage expects the files of an installed plugin
	if err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

func forward(client any) (front.Forward, error) {
	resources, ok := client.(grpcplugin.ResourceClient)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T, not a ResourceClient", client)
	}
	return front.Through(caller{resources}.serve), nil
}
