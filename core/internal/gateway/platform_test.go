package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/auth"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// visit is what a route of the platform saw.
type visit struct {
	ID, Method, Path, Query, Remote, Body string
	Values                                map[string]string
	Header                                http.Header
	Caller                                auth.Identity
}

// own is a public route that tells what it saw; edit may be nil.
func own(id, method, path string, edit func(*PlatformRoute)) PlatformRoute {
	p := PlatformRoute{ID: id, Method: method, Path: path, Access: manifest.AccessPublic}
	p.Serve = func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		saw := visit{id, r.Method, r.URL.Path, r.URL.RawQuery, r.RemoteAddr, string(body), map[string]string{}, r.Header, caller}
		for segment := range strings.SplitSeq(p.Path, "/") {
			if name, found := strings.CutPrefix(segment, "{"); found {
				name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
				saw.Values[name] = r.PathValue(name)
			}
		}
		return pluginapi.WriteJSON(w, http.StatusOK, saw)
	}
	if edit != nil {
		edit(&p)
	}
	return p
}

func failingOwn(id string, err error) PlatformRoute {
	return own(id, "GET", "/api/v1/platform/"+id, func(p *PlatformRoute) {
		p.Serve = func(http.ResponseWriter, *http.Request, auth.Identity) error { return err }
	})
}

func withOwn(routes ...PlatformRoute) func(*Deps) { return func(d *Deps) { d.Platform = routes } }

func someOwn() []PlatformRoute {
	return []PlatformRoute{
		own("listUsers", "GET", "/api/v1/platform/users", nil),
		own("createUser", "POST", "/api/v1/platform/users", nil),
		own("me", "GET", "/api/v1/platform/users/me", nil),
		own("getUser", "GET", "/api/v1/platform/users/{id}", nil),
		own("removeRole", "DELETE", "/api/v1/platform/users/{user}/roles/{role}", nil),
		own("files", "GET", "/api/v1/platform/files/{path...}", nil),
		own("jwks", "GET", "/.well-known/jwks.json", func(p *PlatformRoute) {
			serve := p.Serve
			p.Serve = func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
				w.Header().Set("Cache-Control", "max-age=300")
				return serve(w, r, caller)
			}
		}),
		own("setup", "GET", "/setup", nil),
		own("setUp", "POST", "/setup", nil),
		own("admins", "GET", "/api/v1/platform/admins", func(p *PlatformRoute) { p.Access, p.Permission = "", "echo.thing.read" }),
	}
}

// TestPlatformRoutes: the platform's own routes are found as a module's are, though there is no module.
func TestPlatformRoutes(t *testing.T) {
	t.Parallel()
	f := start(t, withOwn(someOwn()...))
	for _, c := range []struct {
		method, path, id string
		values           map[string]string
	}{
		{"GET", "/api/v1/platform/users?a=b", "listUsers", nil},
		{"POST", "/api/v1/platform/users", "createUser", nil},
		{"GET", "/api/v1/platform/users/me", "me", nil},
		{"GET", "/api/v1/platform/users/a%20b", "getUser", map[string]string{"id": "a b"}},
		{"DELETE", "/api/v1/platform/users/1/roles/2", "removeRole", map[string]string{"user": "1", "role": "2"}},
		{"GET", "/api/v1/platform/files/a/b", "files", map[string]string{"path": "a/b"}},
		{"GET", "/.well-known/jwks.json", "jwks", nil},
		{"GET", "/setup", "setup", nil},
		{"POST", "/setup", "setUp", nil},
	} {
		answer := f.do(c.method, c.path, nil)
		saw := seenOwn(t, answer)
		require.Equal(t, c.id, saw.ID, c.path)
		require.Len(t, saw.Values, len(c.values))
		for name, value := range c.values {
			require.Equal(t, value, saw.Values[name], c.path)
		}
		require.Equal(t, auth.Identity{Principal: link.Anonymous()}, saw.Caller)
		want := map[string]string{"jwks": "max-age=300"}[c.id]
		require.Equal(t, map[bool]string{true: want, false: "no-store"}[want != ""], answer.header.Get("Cache-Control"))
		require.Equal(t, "nosniff", answer.header.Get("X-Content-Type-Options"))
		if c.method == "GET" {
			head := f.do("HEAD", c.path, nil)
			require.Equal(t, 200, head.status)
			require.Empty(t, head.body)
		}
		require.Contains(t, f.get("/metrics").body, `module="platform",route="`+c.id+`"`)
	}
	for path, allowed := range map[string]string{
		"/api/v1/platform/users": "GET, HEAD, POST", "/api/v1/platform/users/1": "GET, HEAD", "/.well-known/jwks.json": "GET, HEAD",
		"/setup": "GET, HEAD, POST", "/api/v1/platform/users/1/roles/2": "DELETE", "/livez": "GET, HEAD",
	} {
		answer := f.do("PUT", path, nil)
		answer.requireProblem(t, http.StatusMethodNotAllowed, "method_not_allowed")
		require.Equal(t, allowed, answer.header.Get("Allow"), path)
	}
	for _, path := range []string{
		"/api/v1/platform", "/api/v1/platform/", "/api/v1/platform/users/", "/api/v1/platform/users/1/roles", "/api/v1/platform/nosuch",
		"/setup/", "/setup/x", "/.well-known", "/.well-known/jwks.json/", "/api/v1/platform/files", "/api/v1", "/",
	} {
		f.get(path).requireProblem(t, http.StatusNotFound, "not_found")
	}
}

func seenOwn(t *testing.T, answer answered) (saw visit) {
	t.Helper()
	require.Equal(t, http.StatusOK, answer.status, answer.body)
	decode(t, answer.body, &saw)
	return saw
}

// TestPlatformRoutesKnowTheirCaller: who it is, and where from; the token is nobody's business any more.
func TestPlatformRoutesKnowTheirCaller(t *testing.T) {
	t.Parallel()
	token := "Authorization: Bearer " + goodToken
	for name, c := range map[string]struct {
		trusted        []string
		remote, scheme string
	}{"a client": {nil, "127.0.0.1", "http"}, "a proxy": {[]string{"127.0.0.1", "10.0.0.0/8"}, "198.51.100.7", "https"}} {
		f := start(t, func(d *Deps) { d.Platform, d.Server.TrustedProxies = someOwn(), c.trusted })
		for path, credentials := range map[string]string{"/setup": "X-Other: 1", "/api/v1/platform/admins": token} {
			answer := f.get(path, credentials, "X-Forwarded-For: 203.0.113.1, 198.51.100.7, 10.1.2.3", "X-Forwarded-Proto: https",
				"Authorization_: x", "X-Request-Id: r1")
			saw := seenOwn(t, answer)
			require.Equal(t, c.remote, saw.Remote, name)
			require.Equal(t, c.scheme, saw.Header.Get("X-Forwarded-Proto"), name)
			require.Equal(t, "r1", saw.Header.Get("X-Request-Id"))
			require.Empty(t, saw.Header["Authorization"])
			require.NotContains(t, answer.body, goodToken)
			if credentials == token {
				require.Equal(t, link.Principal{Kind: link.KindToken, ID: "tok-1", Name: "ci"}, saw.Caller.Principal)
				require.Equal(t, []string{"echo.*"}, saw.Caller.Permissions)
			}
		}
		require.NotContains(t, f.log.String(), goodToken)
	}
}

// TestPlatformRoutesFail: an error becomes a problem, and says no more than it may.
func TestPlatformRoutesFail(t *testing.T) {
	t.Parallel()
	f := start(t, withOwn(
		failingOwn("problem", fmt.Errorf("more: %w", problem.New(http.StatusConflict, "already_exists", "it is there"))),
		failingOwn("status", status.Error(codes.NotFound, "nobody is called that")),
		failingOwn("plain", errors.New("secret of the database")),
		failingOwn("login", problem.New(http.StatusUnauthorized, "unauthenticated", "wrong")),
		own("panic", "GET", "/api/v1/platform/panic", func(p *PlatformRoute) {
			p.Serve = func(http.ResponseWriter, *http.Request, auth.Identity) error { panic("secret of the code") }
		}),
		own("silent", "GET", "/api/v1/platform/silent", func(p *PlatformRoute) {
			p.Serve = func(http.ResponseWriter, *http.Request, auth.Identity) error { return nil }
		}),
		own("half", "GET", "/api/v1/platform/half", func(p *PlatformRoute) {
			p.Serve = func(w http.ResponseWriter, _ *http.Request, _ auth.Identity) error {
				_, _ = io.WriteString(w, strings.Repeat("half", 10_000))
				return errors.New("no more")
			}
		}),
	))
	get := func(id string) answered { return f.get("/api/v1/platform/" + id) }
	require.Equal(t, "it is there", get("problem").requireProblem(t, 409, "already_exists").Detail)
	require.Equal(t, "nobody is called that", get("status").requireProblem(t, 404, "not_found").Detail)
	require.Equal(t, "internal error", get("plain").requireProblem(t, 500, "internal").Detail)
	require.Contains(t, f.log.String(), "secret of the database")
	require.Equal(t, "internal error", get("panic").requireProblem(t, 500, "internal").Detail)
	login := get("login")
	login.requireProblem(t, 401, "unauthenticated")
	require.Equal(t, `Bearer realm="platformd"`, login.header.Get("WWW-Authenticate"))
	require.Equal(t, 200, get("silent").status)
	response, err := f.client.Get(f.scheme + "://" + f.addr + "/api/v1/platform/half")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.Error(t, err, "the client knows that it has not got all")
	require.NotContains(t, string(text), "internal error")
}

// TestPlatformRoutesAreLimited as those of modules are.
func TestPlatformRoutesAreLimited(t *testing.T) {
	t.Parallel()
	waits := func(p *PlatformRoute) {
		p.Timeout = 100 * time.Millisecond
		p.Serve = func(_ http.ResponseWriter, r *http.Request, _ auth.Identity) error {
			<-r.Context().Done()
			return errors.New("query: " + r.Context().Err().Error()) // as a driver that does not wrap it
		}
	}
	f := start(t, withOwn(
		own("small", "POST", "/api/v1/platform/small", func(p *PlatformRoute) { p.MaxBody = 10 }),
		own("usual", "POST", "/api/v1/platform/usual", nil),
		own("hides", "POST", "/api/v1/platform/hides", func(p *PlatformRoute) {
			serve := p.Serve
			p.Serve = func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error {
				if serve(w, r, caller) != nil {
					return problem.New(http.StatusBadRequest, "invalid_argument", "this is no JSON")
				}
				return nil
			}
		}),
		own("slow", "GET", "/api/v1/platform/slow", waits),
	), hurried)
	known := func(size int) io.Reader { return strings.NewReader(strings.Repeat("x", size)) }
	unknown := func(size int) io.Reader { return struct{ io.Reader }{known(size)} }
	for path, limit := range map[string]int{"small": 10, "usual": 64 << 10, "hides": 64 << 10} {
		for _, body := range []func(int) io.Reader{unknown, known} {
			require.Len(t, seenOwn(t, f.do("POST", "/api/v1/platform/"+path, body(limit))).Body, limit)
			f.do("POST", "/api/v1/platform/"+path, body(limit+1)).requireProblem(t, 413, "too_large")
		}
	}
	f.get("/api/v1/platform/slow").requireProblem(t, http.StatusGatewayTimeout, "deadline_exceeded")
	f.raw("GET /api/v1/platform/slow HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").
		requireProblem(t, 400, "invalid_argument")
	f.raw("POST /api/v1/platform/usual HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx").
		requireProblem(t, 408, "request_timeout")
	f.raw("POST /api/v1/platform/usual HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").
		requireProblem(t, 400, "invalid_argument")
}

// TestPlatformStreams last longer than any other exchange, and end when the platform does.
func TestPlatformStreams(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	f := start(t, withOwn(own("tail", "GET", "/api/v1/platform/tail", func(p *PlatformRoute) {
		p.Stream = true
		p.Serve = func(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
			defer func() { ended <- r.Context().Err() }()
			for tick := time.NewTicker(100 * time.Millisecond); ; {
				if err := errors.Join(second(io.WriteString(w, "event\n")), http.NewResponseController(w).Flush()); err != nil {
					return err
				}
				select {
				case <-tick.C:
				case <-r.Context().Done():
					tick.Stop()
					return r.Context().Err()
				}
			}
		}
	})), func(g *Gateway) { g.timeouts.client = 300 * time.Millisecond })
	require.Equal(t, http.StatusMethodNotAllowed, f.do("HEAD", "/api/v1/platform/tail", nil).status)
	response, err := f.client.Get(f.scheme + "://" + f.addr + "/api/v1/platform/tail")
	require.NoError(t, err)
	defer response.Body.Close()
	events := make([]byte, len("event\n")*12) // four times what a client gets elsewhere
	_, err = io.ReadFull(response.Body, events)
	require.NoError(t, err)
	f.stop()
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err, "a stream that the platform ends is whole")
	require.ErrorIs(t, <-ended, context.Canceled)
}

func second[T any](_ T, err error) error { return err }

// TestPlatformStreamsCutWhoDoesNotRead, and do not wait for ever.
func TestPlatformStreamsCutWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	f := start(t, withOwn(own("flood", "GET", "/api/v1/platform/flood", func(p *PlatformRoute) {
		p.Stream = true
		p.Serve = func(w http.ResponseWriter, _ *http.Request, _ auth.Identity) error {
			for chunk := make([]byte, 1<<16); ; {
				if _, err := w.Write(chunk); err != nil {
					ended <- err
					return err
				}
			}
		}
	})), func(g *Gateway) { g.timeouts.client = 300 * time.Millisecond })
	conn, err := net.Dial("tcp", f.addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /api/v1/platform/flood HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for a client that does not read")
	}
}

// TestNoModuleStandsInForThePlatform, not even with the reason why it is not served.
func TestNoModuleStandsInForThePlatform(t *testing.T) {
	t.Parallel()
	f := start(t, withOwn(someOwn()...))
	_, err := manifest.Parse("module.yaml", []byte("apiVersion: platformd/v1\nname: platform\nversion: 1.0.0\n"))
	require.Error(t, err)
	evil := withRoutes("platform", "GET /users", "GET /mine", "POST /login")
	require.Empty(t, f.gateway.SetModules(modules(evil, withRoutes("good", "GET /x")), map[string]string{"platform": "bad name"}))
	require.Equal(t, "listUsers", seenOwn(t, f.get("/api/v1/platform/users")).ID)
	f.get("/api/v1/platform/mine").requireProblem(t, 404, "not_found")
	f.do("POST", "/api/v1/platform/login", nil).requireProblem(t, 404, "not_found")
	require.Empty(t, f.gateway.SetModules(modules(evil), nil))
	require.Equal(t, "listUsers", seenOwn(t, f.get("/api/v1/platform/users")).ID)
	f.get("/api/v1/platform/mine").requireProblem(t, 404, "not_found")
	require.Empty(t, f.gateway.Degraded("platform"))
}

// TestPlatformRoutesThatCannotBe are found before anything is served.
func TestPlatformRoutesThatCannotBe(t *testing.T) {
	t.Parallel()
	good := func() PlatformRoute { return own("x", "GET", "/api/v1/platform/x", nil) }
	for name, edit := range map[string]func(*PlatformRoute){
		"no id":                  func(p *PlatformRoute) { p.ID = "" },
		"no Serve":               func(p *PlatformRoute) { p.Serve = nil },
		"no guard":               func(p *PlatformRoute) { p.Access = "" },
		"two guards":             func(p *PlatformRoute) { p.Permission = "platform.user.read" },
		"another access":         func(p *PlatformRoute) { p.Access = "Public" },
		"a module's path":        func(p *PlatformRoute) { p.Path = "/api/v1/blog/x" },
		"nearly below":           func(p *PlatformRoute) { p.Path = "/api/v1/platformer/x" },
		"the prefix":             func(p *PlatformRoute) { p.Path = "/api/v1/platform" },
		"a parameter outside":    func(p *PlatformRoute) { p.Path = "/{x}" },
		"a wildcard outside":     func(p *PlatformRoute) { p.Path = "/{x...}" },
		"the root":               func(p *PlatformRoute) { p.Path = "/" },
		"no path":                func(p *PlatformRoute) { p.Path = "" },
		"a relative path":        func(p *PlatformRoute) { p.Path = "setup" },
		"a slash at the end":     func(p *PlatformRoute) { p.Path = "/setup/" },
		"two slashes":            func(p *PlatformRoute) { p.Path = "/api/v1/platform//x" },
		"dots":                   func(p *PlatformRoute) { p.Path = "/api/v1/platform/../blog" },
		"a probe":                func(p *PlatformRoute) { p.Path = "/livez" },
		"what gin reads as more": func(p *PlatformRoute) { p.Path = "/api/v1/platform/a:b:c" },
		"no method":              func(p *PlatformRoute) { p.Method = "ge t" },
		"a negative limit":       func(p *PlatformRoute) { p.MaxBody = -1 },
		"a negative timeout":     func(p *PlatformRoute) { p.Timeout = -1 },
	} {
		bad := good()
		edit(&bad)
		_, err := New(depsWith(t, bad))
		require.ErrorContains(t, err, "(fix: ", name)
	}
	_, err := New(depsWith(t, good(), own("x", "GET", "/api/v1/platform/y", nil)))
	require.ErrorContains(t, err, `two routes "x"`)
	_, err = New(depsWith(t, good(), own("y", "GET", "/api/v1/platform/x", nil)))
	require.ErrorContains(t, err, "cannot be served beside the others")
	_, err = New(depsWith(t, good(), own("y", "POST", "/api/v1/platform/x", nil)))
	require.NoError(t, err)
}

func depsWith(t *testing.T, routes ...PlatformRoute) Deps {
	t.Helper()
	deps := newDeps(t.Output())
	deps.Platform = routes
	return deps
}
