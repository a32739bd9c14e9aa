package auth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/pgtest"
	"github.com/platformd/platformd/core/internal/storage"
)

// clock is a time that only moves when told to.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := new(clock)
	c.at.Store(&start)
	return c
}

func (c *clock) now() time.Time { return *c.at.Load() }

func (c *clock) move(d time.Duration) {
	later := c.now().Add(d)
	c.at.Store(&later)
}

// serve returns a service on a clock, over a database that may be shared.
func serve(t testing.TB, store *storage.Storage, o Options, c *clock) *Service {
	t.Helper()
	require.NoError(t, storage.MigrateCore(store.Core(), "auth", steps()...))
	s, err := open(t.Context(), store.Core(), o, c.now)
	require.NoError(t, err)
	return s
}

// errOutage is what accounts say that cannot be reached.
var errOutage = errors.New("the accounts cannot be reached")

// accounts is what another room keeps.
type accounts struct {
	mu        sync.Mutex
	byID      map[string]User
	passwords map[string]string // by email
	external  map[string]string // ids by issuer and subject
	verified  int               // how often a password was looked at
	down      bool
}

func newAccounts() *accounts {
	a := &accounts{byID: map[string]User{}, passwords: map[string]string{}, external: map[string]string{}}
	a.set(User{ID: "u-ada", Name: "Ada", Email: "ada@example.com", Stamp: "1"}, "correct horse")
	a.set(User{ID: "u-bob", Name: "Bob", Email: "bob@example.com", Stamp: "1"}, "battery staple")
	return a
}

func (a *accounts) set(u User, password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byID[u.ID] = u
	a.passwords[u.Email] = password
}

// edit changes a user; nil deletes it.
func (a *accounts) edit(id string, change func(*User)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if change == nil {
		delete(a.byID, id)
		return
	}
	u := a.byID[id]
	change(&u)
	a.byID[id] = u
}

func (a *accounts) setDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

func (a *accounts) looks() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.verified
}

func (a *accounts) users() Users { return Users{Verify: a.verify, Get: a.get, External: a.known} }

func (a *accounts) verify(_ context.Context, email, password string) (User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.verified++
	if a.down {
		return User{}, errOutage
	}
	for _, u := range a.byID {
		if u.Email == plainEmail(email) && a.passwords[u.Email] == password {
			return u, nil
		}
	}
	return User{}, ErrBadCredentials
}

func (a *accounts) get(_ context.Context, id string) (User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		return User{}, errOutage
	}
	if u, ok := a.byID[id]; ok {
		return u, nil
	}
	return User{}, ErrNoUser
}

func (a *accounts) known(_ context.Context, who External) (User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		return User{}, errOutage
	}
	key := who.URL + " " + who.Subject
	id, ok := a.external[key]
	if !ok && who.AllowSignUp {
		id = "u-" + who.Subject
		a.external[key] = id
		a.byID[id] = User{ID: id, Name: who.Name, Email: who.Email}
		ok = true
	}
	if !ok {
		return User{}, ErrNoUser
	}
	return a.byID[id], nil
}

// world is an installation: a database, on which replicas run, and accounts.
type world struct {
	*accounts
	options func() storage.Options // of one more daemon
	clock   *clock
}

// each runs test on each kind of database.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, onSQLite(t))
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		cluster.Require(t)
		url := cluster.Database(t, pgtest.SuperuserRights)
		test(t, newWorld(func() storage.Options {
			return storage.Options{DataDir: t.TempDir(), URL: config.SecretURL(url), MaxConns: 3}
		}))
	})
}

func onSQLite(t testing.TB) *world {
	dir := t.TempDir()
	return newWorld(func() storage.Options { return storage.Options{DataDir: dir} })
}

func newWorld(options func() storage.Options) *world {
	return &world{accounts: newAccounts(), options: options, clock: newClock()}
}

// store opens the installation's database once more.
func (w *world) store(t testing.TB) *storage.Storage {
	t.Helper()
	store, err := storage.Open(t.Context(), w.options())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// replica starts one more daemon.
func (w *world) replica(t testing.TB, change ...func(*Options)) *Service {
	t.Helper()
	o := Options{Users: w.users()}
	for _, do := range change {
		do(&o)
	}
	return serve(t, w.store(t), o, w.clock)
}

// ada signs in.
func ada(t testing.TB, s *Service) Tokens {
	t.Helper()
	tokens, err := s.Login(t.Context(), Login{
		Email: "ada@example.com", Password: "correct horse", Address: "192.0.2.7", UserAgent: "test/1",
	})
	require.NoError(t, err)
	return tokens
}

func requireInvalid(t testing.TB, s *Service, token string) {
	t.Helper()
	identity, err := s.Authenticate(t.Context(), token)
	require.Equal(t, ErrInvalidToken, err)
	require.Equal(t, Identity{}, identity)
}

func requireAda(t testing.TB, s *Service, token string) {
	t.Helper()
	identity, err := s.Authenticate(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, "u-ada", identity.Principal.ID)
}
