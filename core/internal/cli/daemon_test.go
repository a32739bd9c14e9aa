package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/bus/deadletter"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// deadline bounds everything that a test waits for.
const deadline = 10 * time.Second

// daemon is as much of one as the commands see: the admin API on its socket, with real services behind it, and the lock.
type daemon struct {
	dir    string
	log    *logs.Log
	store  *storage.Storage
	tokens *auth.Service
	users  *identity.Service
	authz  *authz.Service
	audit  *audit.Service

	letters *deadletter.Store
	shelf   *shelf

	mu      sync.Mutex
	info    admin.Info
	modules []admin.Module
	types   []admin.EventType

	lock *os.File
	stop func() // ends everything; may be called again
}

// startDaemon runs one until the test ends or it is told to stop.
func startDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{dir: t.TempDir(), modules: sampleModules(), shelf: newShelf()}
	d.info = admin.Info{
		Version: "1.2.3", PID: os.Getpid(), StartedAt: time.Now().Add(-3 * time.Minute), URL: "http://127.0.0.1:8080",
		Listen: "127.0.0.1:8080", DataDir: d.dir, Database: "sqlite", Events: "not used yet", Cache: "not used yet", Ready: true,
		StopMillis: 1000,
	}
	d.takeLock(t)
	var err error
	d.log, err = logs.New(logs.Options{Level: "trace", Output: t.Output()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := d.serve(ctx, t, cancel)
	d.stop = sync.OnceFunc(func() {
		cancel()
		<-served
		_ = d.lock.Close()
	})
	t.Cleanup(func() {
		d.stop()
		require.NoError(t, d.log.Close())
	})
	return d
}

func (d *daemon) takeLock(t *testing.T) {
	var err error
	d.lock, err = os.Create(admin.LockPath(d.dir))
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(d.lock.Fd()), unix.LOCK_EX))
	_, err = d.lock.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	require.NoError(t, err)
}

// serve serves the admin API. A request to stop ends it and, a little later, gives up the lock.
func (d *daemon) serve(ctx context.Context, t *testing.T, cancel func()) (served <-chan struct{}) {
	ln, err := admin.Listen(admin.SocketPath(d.dir), d.log.Logger)
	require.NoError(t, err)
	deps := d.deps(ctx, t)
	deps.Stop = cancel
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = d.lock.Close() }()
		if err := admin.Serve(ctx, ln, deps); err != nil {
			t.Error(err)
		}
	}()
	return done
}

func (d *daemon) deps(ctx context.Context, t *testing.T) admin.Deps {
	store, err := storage.Open(ctx, storage.Options{DataDir: d.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	d.store = store
	d.services(ctx, t, store.Core())
	return admin.Deps{
		Info:    func() admin.Info { d.mu.Lock(); defer d.mu.Unlock(); return d.info },
		Modules: func() []admin.Module { d.mu.Lock(); defer d.mu.Unlock(); return d.modules },
		Users:   d.users, Auth: d.tokens, Authz: d.authz, Audit: d.audit,
		URL:  func() string { return "http://127.0.0.1:8080" },
		Logs: d.log.Store, Log: d.log.Logger,
		Migrations: sampleMigrations("running"), Packages: d.shelf.orders(), Data: noData, Events: d.events(ctx, t),
	}
}

// services makes the rooms, and lets those run that must.
func (d *daemon) services(ctx context.Context, t *testing.T, db *gorm.DB) {
	var err error
	d.users, err = identity.New(ctx, db, identity.Options{
		Leaving: func(_ context.Context, tx *gorm.DB, id, _ string) error { return d.authz.EnsureNotLastAdminTx(tx, id) },
	})
	require.NoError(t, err)
	d.tokens, err = auth.New(ctx, db, auth.Options{Users: auth.Users{Get: d.account, Verify: d.verify}})
	require.NoError(t, err)
	permissions := authz.NewRegistry()
	require.NoError(t, permissions.Set("blog", []manifest.Permission{{Name: "blog.post.read", Description: "Read posts"}}))
	d.authz, err = authz.New(ctx, db, authz.Options{Registry: permissions})
	require.NoError(t, err)
	d.audit, err = audit.New(ctx, db, audit.Options{})
	require.NoError(t, err)
	runs, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running errgroup.Group
	running.Go(func() error { return d.authz.Run(runs) })
	running.Go(func() error { return d.audit.Run(runs) })
	t.Cleanup(func() { cancel(); require.NoError(t, running.Wait()) })
}

func (d *daemon) account(ctx context.Context, id string) (auth.User, error) {
	u, err := d.users.Get(ctx, id)
	return auth.User{ID: u.ID, Name: u.Name, Email: u.Email, Disabled: u.Disabled}, err
}

func (d *daemon) verify(ctx context.Context, email, password string) (auth.User, error) {
	u, err := d.users.Verify(ctx, email, password)
	return auth.User{ID: u.ID, Name: u.Name, Email: u.Email}, err
}

// set changes what the daemon says.
func (d *daemon) set(change func(d *daemon)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func sampleModules() []admin.Module {
	return []admin.Module{
		{
			Name: "billing", Version: "0.2.0", State: "ready", Since: time.Now(), Signature: "unsigned",
			Instances: []admin.Process{{PID: 4711}}, StartMillis: 120,
			Provides: []string{"platformd.billing.v1.BillingService"},
		},
		{
			Name: "blog", Version: "0.3.0", Description: "Posts", State: "ready", Since: time.Now(), Signature: "unsigned",
			Instances: []admin.Process{{PID: 4712}}, Restarts: 1,
			Requires:    map[string]string{"billing": "^0.2"},
			Optional:    map[string]string{"notify": ">=0.1"},
			Consumes:    []string{"platformd.billing.v1.BillingService/GetPlan"},
			Permissions: []admin.Permission{{Name: "blog.post.read", Description: "Read posts", Roles: []string{"member"}}},
			Routes: []admin.Route{
				{ID: "listPosts", Method: "GET", Path: "/api/v1/blog/posts", Permission: "blog.post.read", Stream: "none"},
				{ID: "feed", Method: "GET", Path: "/api/v1/blog/feed", Access: "authenticated", Stream: "sse"},
			},
		},
		{Name: "hello", Version: "0.1.0", State: "ready", Since: time.Now(), Signature: "unsigned"},
	}
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// run runs a command about this daemon.
func (d *daemon) run(t *testing.T, args ...string) result {
	t.Helper()
	return invoke(t.Context(), append(args, "--data-dir", d.dir)...)
}

func invoke(ctx context.Context, args ...string) result {
	var out, errOut bytes.Buffer
	code := run(ctx, args, Deps{
		Run: fakeDaemon, Offline: fakeOffline, Probe: isolation.Probe, Version: "1.2.3-test",
		Out: &out, Err: &errOut, Env: []string{},
	})
	return result{code: code, out: out.String(), err: errOut.String()}
}

// stubborn is the address of a daemon that does not stop when it should.
const stubborn = "127.0.0.1:9"

// fakeDaemon stands where the real one will be.
func fakeDaemon(ctx context.Context, opts StartOptions) error {
	fmt.Fprintln(opts.Out, "listening on "+opts.Config.Server.Listen)
	if opts.Config.Server.Listen == stubborn {
		<-time.After(deadline)
		return nil
	}
	<-ctx.Done()
	return nil
}
