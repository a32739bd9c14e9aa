// Package module is the platformd module that scripts/bench measures. It has two binaries: link, which any author would
// build, and http1, which keeps the data plane on HTTP/1.1.
//
// It must not answer anything by itself: the handlers are everybody's, in internal/handler.
package module

import (
	pluginapi "github.com/platformd/platformd/plugin-api"

	"github.com/platformd/platformd/scripts/bench/internal/handler"
)

// New describes the module.
func New() pluginapi.Module {
	routes := map[string]pluginapi.Handler{}
	for _, route := range handler.Routes() {
		routes[route.ID] = route.Serve
	}
	return pluginapi.Module{Routes: routes}
}
