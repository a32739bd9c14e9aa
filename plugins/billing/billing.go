package main

import (
	"context"
	"net/url"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

// billing is the module's state. What start sets does not change afterwards, so that handlers may run concurrently.
type billing struct {
	db   *gorm.DB
	root string // where the module's routes begin
}

func newBilling() *billing { return &billing{} }

// module lists what module.yaml declares; the core compares the two at every start.
func (b *billing) module() pluginapi.Module {
	return pluginapi.Module{
		Routes: map[string]pluginapi.Handler{
			"listPlans":          b.listPlans,
			"createPlan":         b.createPlan,
			"getPlan":            b.getPlan,
			"updatePlan":         b.updatePlan,
			"deletePlan":         b.deletePlan,
			"listSubscriptions":  b.listSubscriptions,
			"createSubscription": b.createSubscription,
			"getSubscription":    b.getSubscription,
			"cancelSubscription": b.cancelSubscription,
			"getUsage":           b.getUsage,
		},
		Events: map[string]pluginapi.EventHandler{"blog.post.created": b.countPost},
		Services: func(s *grpc.Server) {
			billingv1.RegisterBillingServiceServer(s, &plans{billing: b})
		},
		Migrations: migrations(),
		Init:       b.start,
		Stop:       b.stop,
		Health:     func(ctx context.Context) error { return db.Health(ctx, b.db) },
	}
}

func (b *billing) start(ctx context.Context, core *pluginapi.Core) (err error) {
	b.root = "/api/v1/" + core.Name
	b.db, err = db.Open(ctx, core)
	return err
}

func (b *billing) stop(context.Context) error { return db.Close(b.db) }

// url is the address of one of the module's things, for a Location header.
func (b *billing) url(parts ...string) string {
	address, _ := url.JoinPath(b.root, parts...) // root has no scheme or escapes that could be wrong
	return address
}

// newID returns an id that sorts after all earlier ones of this process, so that lists can be ordered by it.
func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}
