package admin

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestMain(m *testing.M) {
	playModule()
	goleak.VerifyTestMain(m)
}

// server is the API as a daemon would serve it, with real services behind it.
type server struct {
	*Client
	socket  string
	log     *logs.Log
	stopped chan struct{} // closed when the API was asked to stop
	end     func() error  // what the daemon does when it stops; returns what Serve returned
	api     Deps          // what Serve works with
	storage *storage.Storage
	tokens  *auth.Service
	users   *identity.Service
	authz   *authz.Service
	audit   *audit.Service
}

// start serves the API until the test ends.
func start(t *testing.T) *server {
	t.Helper()
	return startWith(t, func(*Deps) {})
}

// startWith is start with other dependencies.
func startWith(t *testing.T, edit func(*Deps)) *server {
	t.Helper()
	dir := t.TempDir()
	log, err := logs.New(logs.Options{Level: "trace", Output: t.Output()})
	require.NoError(t, err)
	s := &server{socket: SocketPath(dir), log: log, stopped: make(chan struct{})}
	s.Client = Dial(s.socket)
	ln, err := Listen(s.socket, log.Logger)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	s.api = s.deps(t, dir)
	edit(&s.api)
	go func() { served <- Serve(ctx, ln, s.api) }()
	s.end = sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() {
		require.NoError(t, s.end())
		require.NoError(t, log.Close())
	})
	return s
}

func (s *server) deps(t *testing.T, dir string) Deps {
	store, err := storage.Open(t.Context(), storage.Options{DataDir: filepath.Join(dir, "data")})
	require.NoError(t, err)
	s.storage = store
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s.services(t, store.Core())
	return Deps{
		Info: func() Info {
			return Info{Version: "1.2.3", PID: 4711, StartedAt: time.Unix(1e9, 0), Ready: true, StopMillis: 1500}
		},
		Modules: func() []Module {
			return []Module{
				{Name: "billing", Version: "0.2.0", State: "ready", Instances: []Process{{PID: 42}}},
				{Name: "blog", Version: "0.3.0", State: "failed", Reason: "it broke"},
			}
		},
		Users: s.users, Auth: s.tokens, Authz: s.authz, Audit: s.audit, URL: func() string { return "http://platform.test" },
		Order: func(context.Context, string, Order) ([]ModuleChange, error) { return nil, nil },
		Logs:  s.log.Store, Log: s.log.Logger,
		Stop: sync.OnceFunc(func() { close(s.stopped) }),
	}
}

// services makes the rooms, introduced to each other as the daemon does it, and lets those run that must.
func (s *server) services(t *testing.T, db *gorm.DB) {
	t.Helper()
	var err error
	s.users, err = identity.New(t.Context(), db, identity.Options{
		Leaving: func(_ context.Context, tx *gorm.DB, id, why string) error {
			if err := s.authz.EnsureNotLastAdminTx(tx, id); err != nil || why != identity.EndedDeleted {
				return err
			}
			return s.authz.ForgetTx(tx, id)
		},
		Ended: func(ctx context.Context, id, why string) {
			if err := errors.Join(s.tokens.EndUser(ctx, id, why), s.authz.Refresh(ctx)); err != nil {
				t.Error(err)
			}
		},
	})
	require.NoError(t, err)
	s.tokens, err = auth.New(t.Context(), db, auth.Options{Users: auth.Users{Verify: s.verify, Get: s.account}})
	require.NoError(t, err)
	permissions := authz.NewRegistry()
	require.NoError(t, permissions.Set("blog", []manifest.Permission{
		{Name: "blog.post.read", Description: "Read posts", Roles: []string{"member"}},
		{Name: "blog.post.create", Description: "Write posts"},
	}))
	s.authz, err = authz.New(t.Context(), db, authz.Options{Registry: permissions, Active: enabled})
	require.NoError(t, err)
	s.audit, err = audit.New(t.Context(), db, audit.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running errgroup.Group
	running.Go(func() error { return s.authz.Run(ctx) })
	running.Go(func() error { return s.audit.Run(ctx) })
	t.Cleanup(func() { cancel(); require.NoError(t, running.Wait()) })
}

func (s *server) verify(ctx context.Context, email, password string) (auth.User, error) {
	u, err := s.users.Verify(ctx, email, password)
	if err != nil {
		return auth.User{}, auth.ErrBadCredentials
	}
	return auth.User{ID: u.ID, Name: u.Name, Email: u.Email}, nil
}

func (s *server) account(ctx context.Context, id string) (auth.User, error) {
	u, err := s.users.Get(ctx, id)
	if err != nil {
		return auth.User{}, auth.ErrNoUser
	}
	return auth.User{ID: u.ID, Name: u.Name, Email: u.Email, Disabled: u.Disabled}, nil
}

// enabled leaves out those who cannot sign in.
func enabled(tx *gorm.DB, users []string) (active []string, err error) {
	return active, tx.Raw("SELECT id FROM identity_users WHERE NOT disabled AND id IN ?", users).Scan(&active).Error
}

// closeStorage takes the database away from under the services.
func (s *server) closeStorage(t *testing.T) {
	t.Helper()
	require.NoError(t, s.storage.Close())
}

// mustStorage is a database of its own.
func mustStorage(t *testing.T) *gorm.DB {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store.Core()
}
