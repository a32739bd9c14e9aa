// Package wire is the handshake between the core and a module's process: the go-plugin configuration both halves must share
// and the glue that turns a finished handshake into a platform.module.v1 client or server.
//
// It must not hold behaviour of either half: the core's lives in its instance package, the module's in package pluginapi.
package wire

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

const (
	// ProtocolVersion is the version of the contract in proto/platform. It changes only when an old module could no longer
	// run under a new core.
	ProtocolVersion = 1

	// PluginName is the one plugin a module's process dispenses.
	PluginName = "module"

	// EnvLifeline names the environment variable that holds the number of the lifeline's descriptor: a pipe whose other end
	// only the core holds. When it reads EOF the core is gone, and so must the module be.
	EnvLifeline = "PLATFORMD_LIFELINE_FD"

	// MetadataTicket is the gRPC metadata with which a module shows the core for whom it asks: the ticket of link.Call.
	MetadataTicket = "platformd-ticket"

	// MetadataPrefix begins the platform's own metadata of a call between modules. The caller names the module that it is for; the
	// core takes away whatever else begins so, and tells the callee who calls (a module's name), on whose behalf (a link.Principal
	// as JSON, base64url without padding), the callee's own ticket for that, and the callee's InitRequest.data_secret.
	MetadataPrefix = "platformd-"
	// MetadataModule is the module that a call is for; the caller sets it.
	MetadataModule = "platformd-module"
	// MetadataCaller is the module that calls.
	MetadataCaller = "platformd-caller"
	// MetadataPrincipal is on whose behalf; see PrincipalText.
	MetadataPrincipal = "platformd-principal"
	// MetadataSecret is the callee's InitRequest.data_secret, base64url without padding.
	MetadataSecret = "platformd-secret"

	// MetadataCore is a trailer of what the core answers a caller itself, and not the callee: it is no answer to whoever the caller
	// works for.
	MetadataCore = "platformd-core"

	// MaxMessage is the largest gRPC message either half accepts, in bytes.
	MaxMessage = 16 << 20
)

// Handshake is what both halves present before anything else. The cookie is no secret: it only tells a person who runs a
// module by hand from the core.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "PLATFORMD_MODULE",
		MagicCookieValue: "6d7c1f0c-launched-by-platformd",
	}
}

// Plugins is the plugin set of the core's half; the Conn it dispenses is the connection to one module's process.
func Plugins() plugin.PluginSet { return plugin.PluginSet{PluginName: &glue{}} }

// Server is all that a module serves.
type Server interface {
	modulev1.ModuleServer
	modulev1.EventsServer
}

// Serving is the plugin set of the module's half. newServer is called once, with the broker on which Init dials the core.
func Serving(newServer func(*plugin.GRPCBroker) Server) plugin.PluginSet {
	return plugin.PluginSet{PluginName: &glue{newServer: newServer}}
}

// Conn is the core's end of one module's process.
type Conn struct {
	Module modulev1.ModuleClient
	Events modulev1.EventsClient // a module without subscriptions may not serve it
	Broker *plugin.GRPCBroker
}

type glue struct {
	plugin.NetRPCUnsupportedPlugin
	newServer func(*plugin.GRPCBroker) Server
}

var _ plugin.GRPCPlugin = (*glue)(nil)

// GRPCServer implements plugin.GRPCPlugin for the module's half.
func (g *glue) GRPCServer(broker *plugin.GRPCBroker, s *grpc.Server) error {
	server := g.newServer(broker)
	modulev1.RegisterModuleServer(s, server)
	modulev1.RegisterEventsServer(s, server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin for the core's half.
func (g *glue) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &Conn{Module: modulev1.NewModuleClient(conn), Events: modulev1.NewEventsClient(conn), Broker: broker}, nil
}
