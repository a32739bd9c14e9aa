package admin

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
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
	tokens  *auth.Service
	storage *storage.Storage
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
	tokens, err := auth.New(t.Context(), store.Core(), auth.Options{})
	require.NoError(t, err)
	s.tokens = tokens
	permissions := authz.NewRegistry()
	require.NoError(t, permissions.Set("blog", []manifest.Permission{
		{Name: "blog.post.read", Description: "Read posts"}, {Name: "blog.post.create", Description: "Write posts"},
	}))
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
		Tokens: tokens, Permissions: permissions, Logs: s.log.Store, Log: s.log.Logger,
		Stop: sync.OnceFunc(func() { close(s.stopped) }),
	}
}

// closeStorage takes the database away from under the services.
func (s *server) closeStorage(t *testing.T) {
	t.Helper()
	require.NoError(t, s.storage.Close())
}
