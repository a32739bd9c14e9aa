package host_test

import (
	"context"
	"net"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/cache"
	"github.com/platformd/platformd/core/internal/host"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a core with the module shop installed, and the user ada, who may read its orders.
type rig struct {
	t    *testing.T
	deps host.Deps
	ada  identity.User
}

func newRig(t *testing.T) *rig {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	r := &rig{t: t, deps: host.Deps{
		Version: func(string) string { return "" }, Ready: func(string) error { return nil },
		Provides: func(string, string) bool { return false },
		State:    func(string) (<-chan struct{}, int) { return nil, 0 }, Log: hclog.NewNullLogger(),
		Publish: func(context.Context, []bus.Event) []error { return nil }, Relay: func(string) {},
	}}
	r.open(store.Core())
	r.ada, err = r.deps.Identity.Create(t.Context(), identity.NewUser{Email: "ada@example.com", Name: "Ada"})
	require.NoError(t, err)
	require.NoError(t, r.deps.Authz.CreateRole(t.Context(), "reader", ""))
	require.NoError(t, r.deps.Authz.Grant(t.Context(), "reader", "shop.order.read"))
	require.NoError(t, r.deps.Authz.Assign(t.Context(), "reader", authz.ToUser(r.ada.ID)))
	return r
}

func (r *rig) open(core *gorm.DB) {
	t, registry := r.t, authz.NewRegistry()
	require.NoError(t, registry.Set("shop", []manifest.Permission{
		{Name: "shop.order.read", Description: "See orders"}, {Name: "shop.order.write", Description: "Change orders"},
	}))
	var err error
	r.deps.Audit, err = audit.New(t.Context(), core, audit.Options{})
	require.NoError(t, err)
	r.run(r.deps.Audit.Run)
	r.deps.Authz, err = authz.New(t.Context(), core, authz.Options{Registry: registry})
	require.NoError(t, err)
	r.run(r.deps.Authz.Run)
	r.deps.Identity, err = identity.New(t.Context(), core, identity.Options{})
	require.NoError(t, err)
	r.deps.Auth, err = auth.New(t.Context(), core, auth.Options{})
	require.NoError(t, err)
	r.deps.Cache, err = cache.New(cache.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.deps.Cache.Close()) })
}

// run runs something until the test ends.
func (r *rig) run(work func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = work(ctx) }()
	r.t.Cleanup(func() { stop(); <-ended })
}

// connect returns the connection on which only the module of the manifest can ask.
func (r *rig) connect(m *manifest.Manifest) *grpc.ClientConn {
	r.t.Helper()
	h, err := host.New(r.deps)
	require.NoError(r.t, err)
	publishing, err := guard.NewPublishing(m, schemaOf)
	require.NoError(r.t, err)
	listener, server := bufconn.Listen(1<<16), grpc.NewServer()
	h.Services(m, publishing)(server)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///core", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, conn.Close()); server.Stop(); <-served })
	return conn
}

// everything is a manifest of shop with every grant.
func everything() *manifest.Manifest {
	return &manifest.Manifest{Name: "shop", Grants: manifest.Grants{
		Auth: []string{"validate"}, Identity: []string{"read"}, Authz: []string{"check"}, Audit: []string{"write"}, Cache: 1 << 20,
		Database: true,
	}}
}

// mint returns a ticket alone.
func (r *rig) mint(who *auth.Identity, module, requestID string) string {
	ticket, _ := r.deps.Auth.Mint(who, module, requestID)
	return ticket
}

// asAda is the context of a request that ada sent to the module.
func (r *rig) asAda(module string, bound ...string) context.Context {
	who := auth.Identity{Principal: link.Principal{Kind: link.KindUser, ID: r.ada.ID, Name: r.ada.Name}, Permissions: bound}
	return withTicket(r.t.Context(), r.mint(&who, module, "request-1"))
}
