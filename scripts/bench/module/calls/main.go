// Command calls is a module that calls billing as it is told to. It is built as an author would: with the client that
// protoc-gen-go-grpc made.
package main

import (
	"context"
	"net/http"

	pluginapi "github.com/platformd/platformd/plugin-api"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"

	"github.com/platformd/platformd/scripts/bench/internal/callload"
	"github.com/platformd/platformd/scripts/bench/internal/orders"
)

func main() {
	var load *orders.Desk // once the module is initialized
	serve := func(w http.ResponseWriter, r *http.Request) error { load.ServeHTTP(w, r); return nil }
	pluginapi.Serve(pluginapi.Module{
		Init: func(_ context.Context, core *pluginapi.Core) error {
			load = callload.New(billingv1.NewBillingServiceClient(core.Module("billing")))
			return nil
		},
		Routes: map[string]pluginapi.Handler{"order": serve, "result": serve},
	})
}
