// Command hello is the smallest module: one public route, nothing else.
package main

import (
	"fmt"
	"net/http"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

func main() { pluginapi.Serve(module()) }

func module() pluginapi.Module {
	return pluginapi.Module{Routes: map[string]pluginapi.Handler{"greet": greet}} // by the route's id in module.yaml
}

func greet(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := fmt.Fprintf(w, "hello, %s\n", r.PathValue("name"))
	return err
}
