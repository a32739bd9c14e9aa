// Command billing stands for the module billing, which blog asks for an author's plan: what it does when posts are written is no
// part of writing one. Who serves blog's handlers without a platform has the same answer in its own process. The module calls
// asks it, too.
package main

import (
	"google.golang.org/grpc"

	pluginapi "github.com/platformd/platformd/plugin-api"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"

	"github.com/platformd/platformd/scripts/bench/internal/billing"
)

func main() {
	pluginapi.Serve(pluginapi.Module{Services: func(s *grpc.Server) {
		billingv1.RegisterBillingServiceServer(s, billing.Generous{})
	}})
}
