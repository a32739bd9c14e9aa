package authz

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// clock is a time that only moves when told to.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c := new(clock)
	c.at.Store(&start)
	return c
}

func (c *clock) now() time.Time { return *c.at.Load() }

func (c *clock) move(d time.Duration) {
	later := c.now().Add(d)
	c.at.Store(&later)
}

// replica is a daemon's service and what it stands on.
type replica struct {
	*Service
	t     *testing.T
	store *storage.Storage
	clock *clock
	tick  chan time.Time
}

// onEach runs a test on each backend; each call of start is one more daemon on the same database.
func onEach(t *testing.T, test func(t *testing.T, start func(Options) *replica)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		test(t, func(o Options) *replica { return newReplica(t, storage.Options{DataDir: dir}, o) })
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		url := config.SecretURL(cluster.Database(t, pgtest.CreateRole))
		test(t, func(o Options) *replica {
			return newReplica(t, storage.Options{DataDir: t.TempDir(), URL: url, MaxConns: 3}, o)
		})
	})
}

// newReplica starts a daemon; its registry knows blog and billing unless o says otherwise.
func newReplica(t *testing.T, where storage.Options, o Options) *replica {
	t.Helper()
	store, err := storage.Open(t.Context(), where)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	clock := newClock()
	o.Now = clock.now
	if o.Registry == nil {
		o.Registry = modules(t)
	}
	s, err := New(t.Context(), store.Core(), o)
	require.NoError(t, err)
	return &replica{Service: s, t: t, store: store, clock: clock, tick: make(chan time.Time)}
}

// modules is a registry in which blog gives member and author something from the beginning.
func modules(t *testing.T) *Registry {
	t.Helper()
	r := NewRegistry()
	require.NoError(t, r.Set("blog", blogPermissions()))
	require.NoError(t, r.Set("billing", []manifest.Permission{{Name: "billing.plan.read", Description: "See plans"}}))
	return r
}

func blogPermissions() []manifest.Permission {
	return []manifest.Permission{
		{Name: "blog.post.read", Description: "Read posts", Roles: []string{"member", "author"}},
		{Name: "blog.post.create", Description: "Write posts", Roles: []string{"author"}},
		{Name: "blog.post.delete", Description: "Delete posts"},
		{Name: "blog.comment.read", Description: "Read comments", Roles: []string{"member"}},
	}
}

func (r *replica) allows(user, permission string) bool {
	r.t.Helper()
	allowed, err := r.Allows(user, permission)
	require.NoError(r.t, err)
	return allowed
}

// holds is all that a user may do, among the modules' permissions.
func (r *replica) holds(user string) []string {
	r.t.Helper()
	names, err := r.Permissions(user)
	require.NoError(r.t, err)
	own := []string{}
	for _, name := range names {
		if !Match(PlatformModule+".*", name) {
			own = append(own, name)
		}
	}
	return own
}

func (r *replica) role(name string) Role {
	r.t.Helper()
	roles, err := r.Roles(r.t.Context())
	require.NoError(r.t, err)
	for _, role := range roles {
		if role.Name == name {
			return role
		}
	}
	require.Fail(r.t, "no such role", name)
	return Role{}
}

// ok fails the test at an error, with what was done.
func (r *replica) ok(errs ...error) {
	r.t.Helper()
	for i, err := range errs {
		require.NoError(r.t, err, "step %d", i)
	}
}
