package host_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/identity"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

func withTicket(ctx context.Context, ticket string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, wire.MetadataTicket, ticket)
}

func TestAModuleSeesOnlyItsDependencies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	versions := map[string]string{"billing": "0.2.0", "notify": "", "secret": "1.0.0"}
	r.deps.Version = func(name string) string { return versions[name] }
	r.deps.Ready = func(name string) error {
		if name == "notify" {
			return errors.New("it is not installed")
		}
		return nil
	}
	registry := corev1.NewRegistryClient(r.connect(&manifest.Manifest{Name: "blog", Requires: manifest.Requires{
		Modules: map[string]string{"billing": "^0.2"}, Optional: map[string]string{"notify": ">=0.1"},
	}}))

	billing, err := registry.GetModule(t.Context(), &corev1.GetModuleRequest{Name: "billing"})
	require.NoError(t, err)
	require.Equal(t, "0.2.0", billing.GetVersion())
	require.True(t, billing.GetReady())

	notify, err := registry.GetModule(t.Context(), &corev1.GetModuleRequest{Name: "notify"})
	require.NoError(t, err)
	require.False(t, notify.GetReady())
	require.Equal(t, "it is not installed", notify.GetReason())

	for _, name := range []string{"secret", "", "blog"} {
		_, err = registry.GetModule(t.Context(), &corev1.GetModuleRequest{Name: name})
		require.Equal(t, codes.PermissionDenied, status.Code(err), name)
	}
}

// neighbours are modules whose state a test changes.
type neighbours struct {
	mu      sync.Mutex // guards the rest
	running map[string]int
	changed chan struct{}
}

func (n *neighbours) set(module string, instances int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running[module] = instances
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *neighbours) state(module string) (<-chan struct{}, int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed, n.running[module]
}

func (n *neighbours) ready(module string) error {
	if _, instances := n.state(module); instances == 0 {
		return errors.New("it restarts")
	}
	return nil
}

// asBlog is the SDK of blog, which may call billing, old and notify, and consumes two services.
func asBlog(t *testing.T, n *neighbours) *pluginapi.Core {
	t.Helper()
	r := newRig(t)
	r.deps.Version, r.deps.State, r.deps.Ready = func(string) string { return "0.2.0" }, n.state, n.ready
	r.deps.Provides = func(module, service string) bool { return service == "a.A" && module != "secret" }
	conn := r.connect(&manifest.Manifest{
		Name: "blog",
		Requires: manifest.Requires{
			Modules: map[string]string{"billing": "*"}, Optional: map[string]string{"also": "*"},
		},
		Services: manifest.Services{Consumes: []string{"a.A/One", "b.B"}},
	})
	return pluginapi.NewCore(pluginapi.Core{Name: "blog"}, nil, conn)
}

func TestResolve(t *testing.T) {
	t.Parallel()
	n := &neighbours{running: map[string]int{"secret": 1}, changed: make(chan struct{})}
	core := asBlog(t, n)
	found, err := core.Resolve(t.Context(), "a.A")
	require.NoError(t, err)
	require.Equal(t, pluginapi.Dependency{Name: "billing", Version: "0.2.0", Reason: "it restarts"}, found)
	n.set("also", 2)
	found, err = core.Resolve(t.Context(), "a.A")
	require.NoError(t, err)
	require.Equal(t, pluginapi.Dependency{Name: "also", Version: "0.2.0", Ready: true, Instances: 2}, found)
	n.set("billing", 1)
	found, err = core.Resolve(t.Context(), "a.A")
	require.NoError(t, err)
	require.Equal(t, "billing", found.Name, "the required one is preferred")
	_, err = core.Resolve(t.Context(), "b.B")
	require.Equal(t, codes.NotFound, status.Code(err))
	for _, service := range []string{"c.C", "a.A/One", ""} {
		_, err = core.Resolve(t.Context(), service)
		require.Equal(t, codes.PermissionDenied, status.Code(err), service)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	n := &neighbours{running: map[string]int{}, changed: make(chan struct{})}
	core := asBlog(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var seen []int
	for now, err := range core.Watch(ctx, "billing") {
		require.NoError(t, err)
		require.Equal(t, now.Instances > 0, now.Ready)
		seen = append(seen, now.Instances)
		switch now.Instances {
		case 0:
			n.set("other", 7) // wakes it, and is not told
			n.set("billing", 2)
		case 2:
			n.set("billing", 1)
		}
		if now.Instances == 1 {
			break
		}
	}
	require.Equal(t, []int{0, 2, 1}, seen)
	for _, err := range core.Watch(ctx, "secret") {
		require.Equal(t, codes.PermissionDenied, status.Code(err))
	}
}

func TestWatchesAreBounded(t *testing.T) {
	t.Parallel()
	n := &neighbours{running: map[string]int{}, changed: make(chan struct{})}
	core := asBlog(t, n)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 64 {
		begun := make(chan struct{})
		all.Go(func() {
			for _, err := range core.Watch(ctx, "billing") {
				if err == nil {
					close(begun)
				}
			}
		})
		<-begun
	}
	for _, err := range core.Watch(ctx, "billing") {
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
	}
	cancel()
	all.Wait()
	require.Eventually(t, func() bool {
		for _, err := range core.Watch(t.Context(), "billing") {
			return err == nil
		}
		return false
	}, 30*time.Second, time.Millisecond, "an ended watch makes room")
}

// TestWhomAModuleAsksFor goes through the SDK's clients, as a module does.
func TestWhomAModuleAsksFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(everything()))
	as := func(bound ...string) context.Context {
		who := auth.Identity{Principal: link.Principal{Kind: link.KindUser, ID: r.ada.ID, Name: "Ada"}, Permissions: bound}
		return link.With(t.Context(), &link.Call{Principal: who.Principal, Ticket: r.mint(&who, "shop", "request-1")})
	}

	allowed, err := core.Authz.BatchCheck(as(), "shop.order.read", "shop.order.write")
	require.NoError(t, err)
	require.Equal(t, []bool{true, false}, allowed)
	require.NoError(t, core.Authz.Require(as(), "shop.order.read"))
	err = core.Authz.Require(as(), "shop.order.write")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.ErrorContains(t, err, "shop.order.write")

	one, err := core.Authz.Check(as("shop.order.write"), "shop.order.read")
	require.NoError(t, err)
	require.False(t, one, "the token that the request came with opens less than ada may")

	one, err = core.Authz.For(r.ada.ID).Check(t.Context(), "shop.order.read")
	require.NoError(t, err)
	require.True(t, one)
	held, err := core.Authz.Permissions(as())
	require.NoError(t, err)
	require.Equal(t, []string{"shop.order.read"}, held)

	_, err = core.Authz.Check(t.Context(), "shop.order.read")
	require.Equal(t, codes.Unauthenticated, status.Code(err), "nobody to decide about")
	_, err = core.Authz.Check(as(), "shop.order.reed")
	require.Equal(t, codes.NotFound, status.Code(err))
}

func TestTicketsThatAreNotTheModules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	authz := corev1.NewAuthzClient(r.connect(everything()))
	check := func(ctx context.Context) codes.Code {
		_, err := authz.Check(ctx, &corev1.CheckRequest{Permission: "shop.order.read"})
		return status.Code(err)
	}
	require.Equal(t, codes.OK, check(r.asAda("shop")))
	require.Equal(t, codes.Unauthenticated, check(r.asAda("blog")), "another module's")
	require.Equal(t, codes.Unauthenticated, check(withTicket(r.asAda("shop"), "x")), "two")
	good, _ := metadata.FromOutgoingContext(r.asAda("shop"))
	ticket := good.Get(wire.MetadataTicket)[0]
	for at := range ticket {
		forged := []byte(ticket)
		forged[at] ^= 1
		require.Equal(t, codes.Unauthenticated, check(withTicket(t.Context(), string(forged))), at)
	}
	for _, bad := range []string{"", "x", ticket + "x", ticket[1:], ticket + "." + ticket} {
		require.Equal(t, codes.Unauthenticated, check(withTicket(t.Context(), bad)), bad)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn := r.connect(everything())
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, conn)
	secret, token, err := r.deps.Auth.Create(t.Context(), auth.NewToken{Name: "ci", Permissions: []string{"shop.*"}, TTL: time.Hour})
	require.NoError(t, err)

	caller, err := core.Auth.Validate(t.Context(), secret)
	require.NoError(t, err)
	require.Equal(t, pluginapi.Principal{Kind: "token", ID: token.ID, Name: "ci"}, caller.Principal)
	ctx := caller.Context(t.Context())
	require.Equal(t, caller.Principal, pluginapi.PrincipalFrom(ctx))
	require.NoError(t, core.Authz.Require(ctx, "shop.order.write"))

	whole, err := corev1.NewAuthClient(conn).Validate(t.Context(), &corev1.ValidateRequest{Token: secret})
	require.NoError(t, err)
	read, err := r.deps.Auth.ReadTicket(t.Context(), whole.GetTicket(), "shop")
	require.NoError(t, err)
	require.Equal(t, read.Expires, whole.GetTicketExpiresAt().AsTime(), "it says when the ticket does")

	for _, bad := range []string{"", "x", secret + "x"} {
		_, err = core.Auth.Validate(t.Context(), bad)
		require.Equal(t, codes.Unauthenticated, status.Code(err), bad)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	bob, err := r.deps.Identity.Create(t.Context(), identity.NewUser{Email: "bob@example.com"})
	require.NoError(t, err)
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(everything()))

	user, err := core.Identity.GetUser(t.Context(), r.ada.ID)
	require.NoError(t, err)
	require.Equal(t, pluginapi.User{ID: r.ada.ID, Email: "ada@example.com", Name: "Ada", CreatedAt: r.ada.CreatedAt}, user)
	_, err = core.Identity.GetUser(t.Context(), "nobody")
	require.Equal(t, codes.NotFound, status.Code(err))

	users, err := core.Identity.BatchGetUsers(t.Context(), []string{bob.ID, "nobody", r.ada.ID})
	require.NoError(t, err)
	require.Len(t, users, 2)
	require.Equal(t, []string{bob.ID, r.ada.ID}, []string{users[0].ID, users[1].ID})
	_, err = core.Identity.BatchGetUsers(t.Context(), make([]string, 101))
	require.Equal(t, codes.InvalidArgument, status.Code(err))

	page, err := core.Identity.ListUsers(t.Context(), pluginapi.UserQuery{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, r.ada.ID, page.Users[0].ID)
	page, err = core.Identity.ListUsers(t.Context(), pluginapi.UserQuery{Limit: 1, Page: page.Next})
	require.NoError(t, err)
	require.Equal(t, bob.ID, page.Users[0].ID)
	require.Empty(t, page.Next)
}

func TestWhatAModuleWritesDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(everything()))
	action := pluginapi.Action{
		Name: "order.ship", Resource: "order/7", Outcome: pluginapi.Done, Details: map[string]string{"carrier": "post"},
	}
	require.NoError(t, core.Audit.Write(t.Context(), action))
	who := auth.Identity{Principal: link.Principal{Kind: link.KindUser, ID: r.ada.ID, Name: "Ada"}}
	asAda := link.With(t.Context(), &link.Call{Ticket: r.mint(&who, "shop", "request-1")})
	require.NoError(t, core.Audit.Write(asAda, action))

	rows, err := r.deps.Audit.Search(t.Context(), audit.Filter{Action: "shop.order.ship", Limit: 10})
	require.NoError(t, err)
	require.Len(t, rows, 2)
	for _, row := range rows {
		require.Equal(t, "shop", row.Via)
		require.Equal(t, "order/7", row.Resource)
		require.JSONEq(t, `{"carrier":"post"}`, string(row.Details))
	}
	require.ElementsMatch(t, []link.Principal{who.Principal, {Kind: "module", ID: "shop", Name: "shop"}},
		[]link.Principal{rows[0].Actor, rows[1].Actor})

	action.Outcome = ""
	require.Equal(t, codes.InvalidArgument, status.Code(core.Audit.Write(t.Context(), action)))
	action.Outcome, action.Details = pluginapi.Failed, map[string]string{"much": string(make([]byte, 5000))}
	require.Equal(t, codes.InvalidArgument, status.Code(core.Audit.Write(t.Context(), action)))
	forged := link.With(t.Context(), &link.Call{Ticket: "forged"})
	err = core.Audit.Write(forged, pluginapi.Action{Name: "x", Outcome: pluginapi.Done})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
}

func TestWhatIsDeniedIsWrittenDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(only("authz")))
	_, err := core.Identity.GetUser(t.Context(), r.ada.ID)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Eventually(t, func() bool {
		rows, err := r.deps.Audit.Search(t.Context(), audit.Filter{Action: "core.call", Outcome: audit.Denied, Limit: 1})
		return err == nil && len(rows) == 1 && rows[0].Via == "shop" && rows[0].Resource == "/platform.core.v1.Identity/GetUser"
	}, 10*time.Second, 10*time.Millisecond)
}

func TestTheCacheIsTheModulesOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := everything()
	other.Name = "blog"
	shop := pluginapi.NewCore(pluginapi.Core{Name: "shop"}, nil, r.connect(everything())).Cache
	blog := pluginapi.NewCore(pluginapi.Core{Name: "blog"}, nil, r.connect(other)).Cache
	require.NoError(t, shop.Set(t.Context(), "k", []byte("v"), time.Minute))
	value, ok, err := shop.Get(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "v", string(value))
	_, ok, err = blog.Get(t.Context(), "k")
	require.NoError(t, err)
	require.False(t, ok)

	n, err := shop.Increment(t.Context(), "n", 5, 0)
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	_, err = shop.Increment(t.Context(), "k", 1, 0)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	swapped, err := shop.CompareAndSet(t.Context(), "k", pluginapi.Swap{Value: []byte("w")})
	require.NoError(t, err)
	require.False(t, swapped, "it is there")
	swapped, err = shop.CompareAndSet(t.Context(), "k", pluginapi.Swap{Expected: []byte("v"), Value: []byte("w")})
	require.NoError(t, err)
	require.True(t, swapped)
	require.NoError(t, shop.Delete(t.Context(), "k"))
	for _, err := range []error{
		shop.Set(t.Context(), "", nil, 0), shop.Set(t.Context(), "k", make([]byte, 1<<20+1), 0), shop.Set(t.Context(), "k", nil, -1),
	} {
		require.Equal(t, codes.InvalidArgument, status.Code(err))
	}
}
