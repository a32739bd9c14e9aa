package signin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/audit"
	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/authz"
	"github.com/platformd/platformd/core/internal/identity"
	"github.com/platformd/platformd/core/internal/signin"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	platformURL = "https://platform.test"
	prefix      = "/api/v1/platform"
	passphrase  = "correct horse battery"
	objectType  = "application/json"
	formType    = "application/x-www-form-urlencoded"
)

// world is a platform's accounts with the routes over them, on a clock that moves when told to. It plays the gateway: it lets
// nobody in without credentials where a route is not public, and turns errors into problems.
type world struct {
	t     *testing.T
	deps  signin.Deps
	authz *authz.Service
	mux   *http.ServeMux
	hosts atomic.Int64 // how many addresses were used
	start time.Time
	moved atomic.Int64 // how far the clock is from start

	mu       sync.Mutex
	internal []error // what clients are not told of
	logged   strings.Builder
}

func newWorld(t *testing.T, change ...func(*world, *auth.Options)) *world {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{DataDir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	w := &world{t: t, mux: http.NewServeMux(), start: time.Now().UTC()}
	w.open(store.Core(), change)
	for _, route := range signin.Routes(w.deps) {
		w.mux.HandleFunc(route.Method+" "+prefix+route.Path, w.serve(route))
	}
	return w
}

func (w *world) now() time.Time { return w.start.Add(time.Duration(w.moved.Load())) }

func (w *world) move(d time.Duration) { w.moved.Add(int64(d)) }

// open makes the rooms and introduces them to each other, as core/internal/daemon does.
func (w *world) open(core *gorm.DB, change []func(*world, *auth.Options)) {
	t := w.t
	var err error
	w.deps = signin.Deps{
		URL: func() string { return platformURL },
		Log: hclog.New(&hclog.LoggerOptions{Output: lockedWriter{w}}),
	}
	w.deps.Audit, err = audit.New(t.Context(), core, audit.Options{})
	require.NoError(t, err)
	w.run(w.deps.Audit.Run)
	w.authz, err = authz.New(t.Context(), core, authz.Options{Registry: authz.NewRegistry(), Active: identity.Active})
	require.NoError(t, err)
	w.run(w.authz.Run)
	w.deps.Identity, err = identity.New(t.Context(), core, identity.Options{
		Now: w.now,
		Ended: func(ctx context.Context, userID, why string) {
			if err := w.deps.Auth.EndUser(ctx, userID, why); err != nil {
				t.Error(err)
			}
		},
	})
	require.NoError(t, err)
	options := auth.Options{Users: w.users()}
	for _, do := range change {
		do(w, &options)
	}
	w.deps.Auth, err = auth.New(t.Context(), core.Session(&gorm.Session{NewDB: true, NowFunc: w.now}), options)
	require.NoError(t, err)
	holder := func(who auth.Identity) authz.Holder {
		return authz.Holder{Principal: who.Principal, Bound: who.Permissions}
	}
	w.deps.Permissions = func(who auth.Identity) ([]string, error) { return w.authz.Held(holder(who)) }
	if w.deps.Administrator == nil {
		w.deps.Administrator = func(_ context.Context, tx *gorm.DB, first identity.User) error {
			return w.authz.AssignTx(tx, authz.Admin, authz.ToUser(first.ID))
		}
	}
	if w.deps.Appointed == nil {
		w.deps.Appointed = w.authz.Refresh
	}
}

func (w *world) users() auth.Users {
	signer := func(u identity.User) auth.User {
		user := auth.User{ID: u.ID, Name: u.Name, Email: u.Email, Disabled: u.Disabled}
		if u.PasswordChangedAt != nil {
			user.Stamp = u.PasswordChangedAt.UTC().Format(time.RFC3339Nano)
		}
		return user
	}
	noUser := func(err error) error {
		if errors.Is(err, identity.ErrNotFound) || errors.Is(err, identity.ErrNotLinked) {
			return fmt.Errorf("%w: %w", auth.ErrNoUser, err)
		}
		return err
	}
	return auth.Users{
		Verify: func(ctx context.Context, email, password string) (auth.User, error) {
			user, err := w.deps.Identity.Verify(ctx, email, password)
			if errors.Is(err, identity.ErrBadCredentials) {
				err = auth.ErrBadCredentials
			}
			return signer(user), err
		},
		Get: func(ctx context.Context, id string) (auth.User, error) {
			user, err := w.deps.Identity.Get(ctx, id)
			return signer(user), noUser(err)
		},
		External: func(ctx context.Context, who auth.External) (auth.User, error) {
			user, err := w.deps.Identity.External(ctx, identity.External{
				Issuer: who.URL, Subject: who.Subject, Email: who.Email, EmailVerified: who.EmailVerified, Name: who.Name,
				Create: who.AllowSignUp,
			})
			return signer(user), noUser(err)
		},
	}
}

// run runs something until the test ends.
func (w *world) run(work func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = work(ctx) }()
	w.t.Cleanup(func() { stop(); <-ended })
}

type lockedWriter struct{ w *world }

// Write implements io.Writer.
func (l lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.logged.Write(p)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

func (w *world) serve(route signin.Route) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var caller auth.Identity
		var err error
		if token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
			caller, err = w.deps.Auth.Authenticate(r.Context(), token)
		}
		if err != nil || caller.Principal.Kind == "" && !route.Public {
			problem.New(http.StatusUnauthorized, "unauthenticated", "let in by nobody").Write(rw)
			return
		}
		if err := route.Serve(rw, r, caller); err != nil {
			p, public := problem.FromError(err)
			if !public {
				w.mu.Lock()
				w.internal = append(w.internal, err)
				w.mu.Unlock()
			}
			p.Write(rw)
		}
	}
}

// call is one request.
type call struct {
	line, kind, body string // method and path; Content-Type
	token            string
	from             string // "": an address of its own
	header           map[string]string
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(c call) answer {
	w.t.Helper()
	method, path, _ := strings.Cut(c.line, " ")
	r := httptest.NewRequestWithContext(w.t.Context(), method, prefix+path, strings.NewReader(c.body))
	if c.from == "" {
		n := w.hosts.Add(1)
		c.from = fmt.Sprintf("10.1.%d.%d", n/250, n%250)
	}
	r.RemoteAddr = c.from
	r.Header.Set("X-Request-Id", "request-1")
	r.Header.Set("User-Agent", "browser")
	if c.kind != "" {
		r.Header.Set("Content-Type", c.kind)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	rw := httptest.NewRecorder()
	w.mux.ServeHTTP(rw, r)
	return answer{rw.Code, rw.Header(), rw.Body.String()}
}

// send posts a value as JSON.
func (w *world) send(line, token string, value any) answer {
	w.t.Helper()
	body, err := json.Marshal(value)
	require.NoError(w.t, err)
	return w.do(call{line: line, kind: objectType + "; charset=utf-8", token: token, body: string(body)})
}

// fill posts a form.
func (w *world) fill(line string, pairs ...string) answer {
	w.t.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return w.do(call{line: line, kind: formType, body: values.Encode()})
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.body), into), a.body)
}

// refused wants a problem that says what to do.
func (a answer) refused(t *testing.T, status int, says string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, problem.ContentType, a.header.Get("Content-Type"))
	var p problem.Problem
	a.decode(t, &p)
	require.Contains(t, p.Detail, says)
	require.Regexp(t, `\(fix: .+\)$`, p.Detail)
}

// person makes a user with a password.
func (w *world) person(name string) identity.User {
	w.t.Helper()
	password := passphrase
	u, err := w.deps.Identity.Create(w.t.Context(), identity.NewUser{Email: name + "@example.com", Name: name, Password: &password})
	require.NoError(w.t, err)
	return u
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Expires int    `json:"expires_in"`
	Type    string `json:"token_type"`
}

// login signs somebody in.
func (w *world) login(email string) (signed tokens) {
	w.t.Helper()
	got := w.send("POST /auth/login", "", map[string]string{"email": email, "password": passphrase})
	require.Equal(w.t, http.StatusOK, got.status, got.body)
	got.decode(w.t, &signed)
	return signed
}

// me says whether a token is anybody's.
func (w *world) me(token string) int { return w.do(call{line: "GET /auth/me", token: token}).status }

// rows are those of the audit log about an action, once there are so many; the oldest first.
func (w *world) rows(action string, n int) (rows []audit.Row) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		var err error
		rows, err = w.deps.Audit.Search(w.t.Context(), audit.Filter{Action: action, OldestFirst: true, Limit: 100})
		require.NoError(w.t, err)
		return len(rows) >= n
	}, 20*time.Second, time.Millisecond, action)
	require.Len(w.t, rows, n)
	return rows
}

// nothingInternal wants no error that a client was not told of.
func (w *world) nothingInternal() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Empty(w.t, w.internal)
}
