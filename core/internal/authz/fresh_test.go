package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// closed asks 10,000 times, as an admin, and finds that nothing is allowed.
func (r *replica) closed() {
	r.t.Helper()
	asked := []string{"blog.post.read", "platform.user.create"}
	for range 10_000 {
		allowed, err := r.Allows("ada", asked[0])
		if allowed || !errors.Is(err, ErrStale) {
			require.Fail(r.t, "answered", "%t %v", allowed, err)
		}
	}
	answers, err := r.AllowsAll("ada", asked)
	require.ErrorIs(r.t, err, ErrStale)
	require.Equal(r.t, []bool{false, false}, answers)
	names, err := r.Permissions("ada")
	require.ErrorIs(r.t, err, ErrStale)
	require.Empty(r.t, names)
	decision, err := r.Explain("ada", asked[0])
	require.ErrorIs(r.t, err, ErrStale)
	require.False(r.t, decision.Allowed)
}

// running starts Run with ticks of the test's making.
func (r *replica) running() *replica {
	ctx, stop := context.WithCancel(r.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.follow(ctx, r.tick) }()
	r.t.Cleanup(func() { stop(); require.NoError(r.t, <-ended) })
	return r
}

// look has the replica look at the version, and waits until it has: it takes the second tick when it is done with the first.
func (r *replica) look() {
	r.tick <- time.Time{}
	r.tick <- time.Time{}
}

func TestBothReplicasSeeEveryChange(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		here, there, ctx := start(Options{}).running(), start(Options{}).running(), t.Context()
		for i, change := range []struct {
			make  func() error
			holds []string
		}{
			{func() error { return here.Assign(ctx, "author", ToUser("ada")) }, []string{"blog.post.create", "blog.post.read"}},
			{func() error { return there.Revoke(ctx, "author", "blog.post.read") }, []string{"blog.post.create"}},
			{func() error { return here.Unassign(ctx, "author", ToUser("ada")) }, []string{}},
			{func() error { return there.CreateGroup(ctx, "staff", "") }, []string{}},
			{func() error { return here.AddMembers(ctx, "staff", "ada") }, []string{}},
			{func() error { return there.Assign(ctx, "author", ToGroup("staff")) }, []string{"blog.post.create"}},
			{func() error { return there.SyncExternal(ctx, "ada", "x", []string{"author"}) }, []string{"blog.post.create"}},
			{func() error { return here.DeleteGroup(ctx, "staff") }, []string{"blog.post.create"}},
			{func() error { return there.Forget(ctx, "ada") }, []string{}},
		} {
			require.NoError(t, change.make(), "%d", i)
			for _, r := range []*replica{here, there} {
				r.look()
				require.Equal(t, change.holds, r.holds("ada"), "%d", i)
			}
		}
	})
}

// Whoever does not look allows nothing from the end of the bound on: what another replica revoked is never allowed longer.
func TestTheBoundHolds(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		here, there, ctx := start(Options{}), start(Options{}).running(), t.Context()
		here.ok(here.Assign(ctx, Admin, ToUser("ada"), ToUser("bob")))
		there.look()
		here.ok(here.Unassign(ctx, Admin, ToUser("ada")))
		there.clock.move(Staleness)
		require.True(t, there.allows("ada", "blog.post.read"), "within the bound")
		there.clock.move(time.Nanosecond)
		there.closed()
		there.look()
		require.False(t, there.allows("ada", "blog.post.read"))
		require.True(t, there.allows("bob", "blog.post.read"))
	})
}

// The bound begins when the version is asked for: what is committed after that may not be in the answer.
func TestTheBoundBeginsBeforeTheQuestion(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r := start(Options{})
		r.ok(r.Assign(t.Context(), Admin, ToUser("ada")))
		slow := "authz:slow"
		r.ok(r.store.Core().Callback().Row().Before("gorm:row").Register(slow, func(*gorm.DB) { r.clock.move(Staleness + 1) }))
		r.ok(r.Refresh(t.Context()))
		r.closed()
		r.ok(r.store.Core().Callback().Row().Remove(slow), r.Refresh(t.Context()))
		require.True(t, r.allows("ada", "blog.post.read"))
	})
}

func TestNothingIsAllowedWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		var log lines
		r := start(Options{Log: hclog.New(&hclog.LoggerOptions{Output: &log})}).running()
		r.ok(r.Assign(t.Context(), Admin, ToUser("ada")))
		core := r.store.Core()
		require.NoError(t, core.Exec("ALTER TABLE authz_version RENAME TO away").Error)
		r.look()
		require.True(t, r.allows("ada", "blog.post.read"), "what was known a moment ago")
		r.clock.move(Staleness + 1)
		r.look()
		r.closed()
		require.Equal(t, 1, strings.Count(log.String(), "cannot be kept current"), "it is said once")

		require.NoError(t, core.Exec("ALTER TABLE away RENAME TO authz_version").Error)
		require.NoError(t, core.Exec("DELETE FROM authz_version").Error)
		r.look()
		r.closed()
		require.NoError(t, core.Exec("INSERT INTO authz_version VALUES (1, 7, 'x')").Error)
		r.look()
		require.True(t, r.allows("ada", "blog.post.read"))
		require.Contains(t, log.String(), "current again")

		// Another name than before: a connection of SQLite may remember that the other one was taken.
		require.NoError(t, core.Exec("ALTER TABLE authz_members RENAME TO gone").Error)
		require.NoError(t, core.Exec("UPDATE authz_version SET number = 8").Error)
		r.clock.move(Staleness + 1)
		r.look()
		r.closed()
		require.NoError(t, r.store.Close())
		r.look()
		r.closed()
	})
}

// A change that is stored and cannot be read back counts at once all the same: nothing is allowed until it can.
func TestAChangeThatCannotBeReadBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, core := start(Options{}), func(r *replica, query string) { r.ok(r.store.Core().Exec(query).Error) }
		r.ok(r.Assign(t.Context(), Admin, ToUser("ada"), ToUser("bob")))
		core(r, "ALTER TABLE authz_groups RENAME TO away")
		r.ok(r.Unassign(t.Context(), Admin, ToUser("ada")))
		r.closed()
		require.NoError(t, r.Registry.Set("shop", []manifest.Permission{{Name: "shop.cart.read"}}))
		r.closed()
		core(r, "ALTER TABLE away RENAME TO authz_groups")
		r.ok(r.Refresh(t.Context()))
		require.False(t, r.allows("ada", "blog.post.read"))
		require.True(t, r.allows("bob", "shop.cart.read"))
	})
}

// Whoever asked may have gone when the change is stored; it counts all the same.
func TestAChangeWhoseCallerIsGone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r := start(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		r.ok(r.Assign(ctx, "author", ToUser("ada")))
		cancel()
		require.ErrorIs(t, r.Unassign(ctx, "author", ToUser("ada")), context.Canceled)
		require.True(t, r.allows("ada", "blog.post.read"), "nothing was changed, and nothing is stale")
		r.settle(ctx)
		require.True(t, r.allows("ada", "blog.post.read"))
	})
}

func TestAServiceOfNothing(t *testing.T) {
	t.Parallel()
	(&replica{Service: &Service{Options: Options{Now: time.Now}}, t: t}).closed()
	(&replica{Service: new(Service), t: t}).closed()
}

// A failover may lose a change and let another one have its number.
func TestTheSameNumberAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, core := start(Options{}), func(r *replica, query string) { r.ok(r.store.Core().Exec(query).Error) }
		r.ok(r.Assign(t.Context(), "author", ToUser("ada")))
		core(r, "DELETE FROM authz_assignments")
		core(r, "UPDATE authz_version SET stamp = 'another'")
		r.ok(r.Refresh(t.Context()))
		require.Empty(t, r.holds("ada"))
	})
}

// A server that has the question and does not answer is no better than none.
func TestADatabaseThatHangs(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, other := start(Options{}), start(Options{})
		if r.store.Core().Name() != backend.PostgreSQL {
			t.Skip("readers of SQLite wait for nobody")
		}
		r.ok(r.Assign(t.Context(), Admin, ToUser("ada")))
		tx := other.store.Core().Begin()
		require.NoError(t, tx.Exec("LOCK TABLE authz_version IN ACCESS EXCLUSIVE MODE").Error)
		begun := time.Now()
		require.Error(t, r.Refresh(t.Context()))
		require.Less(t, time.Since(begun), 30*time.Second)
		r.clock.move(Staleness + 1)
		r.closed()
		require.NoError(t, tx.Rollback().Error)
		r.ok(r.Refresh(t.Context()))
		require.True(t, r.allows("ada", "blog.post.read"))
	})
}

// However changes, the registry, looks and questions fall together: a change is there when its call returns.
func TestChangesUnderLoad(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		r, ctx := start(Options{}), t.Context()
		stop := make(chan struct{})
		var busy sync.WaitGroup
		loop := func(work func(i int)) {
			busy.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						work(i)
					}
				}
			})
		}
		loop(func(int) { _ = r.Refresh(ctx) })
		loop(func(i int) {
			_ = r.Registry.Set("shop", []manifest.Permission{{Name: fmt.Sprintf("shop.cart.a%d", i)}})
		})
		loop(func(int) { _, _ = r.Allows("ada", "blog.post.read") })
		loop(func(i int) { _ = r.CreateRole(ctx, fmt.Sprintf("role%d", i), "") })
		for i := range 8 {
			user := ToUser(fmt.Sprint("user", i))
			require.NoError(t, r.Assign(ctx, "author", user))
			require.True(t, r.allows(user.ID, "blog.post.create"))
			require.NoError(t, r.Unassign(ctx, "author", user))
			require.False(t, r.allows(user.ID, "blog.post.create"))
			module := fmt.Sprintf("m%d", i)
			require.NoError(t, r.Registry.Set(module, []manifest.Permission{{Name: module + ".a.b", Roles: []string{"author"}}}))
			require.Contains(t, r.view.Load().index.powers.bits, module+".a.b")
			r.Registry.Remove(module)
			require.NotContains(t, r.view.Load().index.powers.bits, module+".a.b")
		}
		close(stop)
		busy.Wait()
	})
}

// Run looks by itself.
func TestRun(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start func(Options) *replica) {
		here, there := start(Options{}), start(Options{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- there.Run(ctx) }()
		here.ok(here.Assign(ctx, "author", ToUser("ada")))
		require.Eventually(t, func() bool { return there.allows("ada", "blog.post.create") }, time.Minute, 10*time.Millisecond)
		stop()
		require.NoError(t, <-ended)
	})
}

// lines is a log that several may write to.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
