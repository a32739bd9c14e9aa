package gateway

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// withRoutes is a module with public routes, each "METHOD /path"; the route is its own id. It is not checked as a manifest:
// the gateway must not be taken down by what a manifest would not admit.
func withRoutes(name string, routes ...string) *catalog.Module {
	m := &manifest.Manifest{Name: name}
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		m.Routes = append(m.Routes, manifest.Route{
			ID: route, Method: method, Path: path, Access: manifest.AccessPublic, Stream: manifest.StreamNone, MaxBody: 1,
		})
	}
	return &catalog.Module{Manifest: m}
}

// decide returns the id of the route that a request is decided on, and the status that it gets without an instance.
func (f *fixture) decide(method, path string) (route string, status int) {
	f.t.Helper()
	w := httptest.NewRecorder()
	a := &answer{ResponseWriter: w, closing: &f.gateway.closing}
	f.gateway.route(a, httptest.NewRequestWithContext(f.t.Context(), method, path, nil))
	return a.route, a.status
}

func TestConflictingModuleIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, routes := range map[string][]string{
		"the same path":          {"GET /a", "GET /a"},
		"the same path, renamed": {"GET /a/{id}", "GET /a/{slug}"},
		"wildcard and literal":   {"GET /a/{rest...}", "GET /a/b"},
		"literal and wildcard":   {"GET /a/b", "GET /a/{rest...}"},
		"wildcard and parameter": {"GET /a/{id}", "GET /a/{rest...}"},
		"two wildcards":          {"GET /a/{x...}", "GET /a/{y...}"},
		"not a method":           {"ge t /a"},
		"what gin reads as more": {"GET /a:b:c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, nil)
			bad := withRoutes("bad", append([]string{"GET /fine"}, routes...)...)
			refused := f.gateway.SetModules([]*catalog.Module{withRoutes("able", "GET /x"), bad, withRoutes("good", "GET /x")}, nil)
			require.Len(t, refused, 1)
			require.ErrorContains(t, refused["bad"], "fix:")
			require.ErrorContains(t, refused["bad"], "cannot be served beside the others")
			p := f.get("/api/v1/bad/fine").requireProblem(t, http.StatusServiceUnavailable, "unavailable")
			require.Contains(t, p.Detail, "cannot be served beside the others")
			for _, other := range []string{"able", "good"} {
				route, _ := f.decide(http.MethodGet, "/api/v1/"+other+"/x")
				require.Equal(t, "GET /x", route, "the others are served")
			}
			require.Empty(t, f.gateway.SetModules([]*catalog.Module{withRoutes("bad", "GET /fine")}, nil), "once it is repaired")
			route, _ := f.decide(http.MethodGet, "/api/v1/bad/fine")
			require.Equal(t, "GET /fine", route)
		})
	}
}

// TestParameterNamesDoNotConflict: what a parameter is called matters to its route alone.
func TestParameterNamesDoNotConflict(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{withRoutes("m",
		"GET /posts/{id}", "GET /posts/{slug}/comments", "GET /posts/{post}/comments/{id}", "HEAD /posts/{other}")}, nil))
	for path, want := range map[string]string{
		"/posts/1": "GET /posts/{id}", "/posts/1/comments": "GET /posts/{slug}/comments",
		"/posts/1/comments/2": "GET /posts/{post}/comments/{id}",
	} {
		route, _ := f.decide(http.MethodGet, "/api/v1/m"+path)
		require.Equal(t, want, route)
	}
	route, _ := f.decide(http.MethodHead, "/api/v1/m/posts/1")
	require.Equal(t, "HEAD /posts/{other}", route, "a HEAD of its own goes first")
	route, _ = f.decide(http.MethodHead, "/api/v1/m/posts/1/comments")
	require.Equal(t, "GET /posts/{slug}/comments", route)
}

// TestHeadsThatFindNoRoom: a HEAD route of the manifest may keep the HEAD of a GET route out, and no more.
func TestHeadsThatFindNoRoom(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{withRoutes("m", "GET /a/b", "GET /c", "HEAD /a/{rest...}")}, nil))
	for path, want := range map[string]string{"/a/b": "HEAD /a/{rest...}", "/c": "GET /c"} {
		route, _ := f.decide(http.MethodHead, "/api/v1/m"+path)
		require.Equal(t, want, route)
	}
}

func TestUnavailableModules(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	held := withRoutes("held", "GET /a")
	held.Held = errors.New("it requires billing, which is not there")
	require.Empty(t, f.gateway.SetModules([]*catalog.Module{held, withRoutes("m", "GET /a"), withRoutes("off", "GET /a")},
		map[string]string{"off": "it is disabled in config.yaml", "gone": "its checksum is wrong"}))
	for path, reason := range map[string]string{
		"/api/v1/held/a": "it requires billing", "/api/v1/held": "it requires billing", "/api/v1/held/nosuch/b/": "it requires billing",
		"/api/v1/off/a": "it is disabled", "/api/v1/gone/a": "its checksum",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			answer := f.do(method, path, nil)
			p := answer.requireProblem(t, http.StatusServiceUnavailable, "unavailable")
			require.Contains(t, p.Detail, reason)
			require.NotEmpty(t, answer.header.Get("Retry-After"))
		}
	}
	f.get("/api/v1/nosuch/a").requireProblem(t, http.StatusNotFound, "not_found")
	f.get("/api/v1/m/a").requireProblem(t, http.StatusServiceUnavailable, "unavailable") // no instance
}

// TestSetModulesDuringTraffic: every request meets one whole table.
func TestSetModulesDuringTraffic(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	with := []*catalog.Module{parse(t, echoManifest), withRoutes("other", "GET /a")}
	var stop atomic.Bool
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for i := 0; !stop.Load(); i++ {
			if refused := f.gateway.SetModules(with[:1+i%2], nil); len(refused) > 0 {
				t.Error(refused)
			}
		}
	})
	for i := range 300 {
		name := fmt.Sprint(i)
		require.Equal(t, name, f.see("/api/v1/echo/public/" + name).Params[0].Value)
		status := f.get("/api/v1/other/a").status
		require.Contains(t, []int{http.StatusNotFound, http.StatusServiceUnavailable}, status)
	}
	stop.Store(true)
	swapping.Wait()
}

// TestRoutingAgreesWithTheManifest compares random routes and paths with a plain reading of the patterns: gin alone does not
// find them all.
func TestRoutingAgreesWithTheManifest(t *testing.T) {
	t.Parallel()
	f := start(t, nil)
	missed := 0
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 0))
		routes := randomRoutes(random)
		if refused := f.gateway.SetModules([]*catalog.Module{withRoutes("m", routes...)}, nil); len(refused) > 0 {
			require.Failf(t, "a manifest's routes were refused", "%v: %v", routes, refused)
		}
		for range 30 {
			method, path := [...]string{"GET", "POST"}[random.IntN(2)], randomPath(random)
			want := plainly(routes, method, path)
			got, status := f.decide(method, "/api/v1/m"+path)
			require.Equal(t, want, got, "%s %s among %v", method, path, routes)
			if want == "" {
				other := map[string]string{"GET": "POST", "POST": "GET"}[method]
				elsewhere := plainly(routes, other, path) != ""
				require.Equal(t, elsewhere, status == http.StatusMethodNotAllowed, "%s %s among %v", method, path, routes)
				missed++
			}
		}
	}
	require.Positive(t, missed)
}

// randomRoutes returns routes that a manifest may have together.
func randomRoutes(random *rand.Rand) (routes []string) {
	words := []string{"a", "ab", "abc", "b", "{x}", "{y}"}
	for range 2 + random.IntN(10) {
		var parts []string
		for range random.IntN(5) {
			parts = append(parts, words[random.IntN(len(words))])
		}
		if random.IntN(6) == 0 {
			parts = append(parts, "{rest...}")
		}
		for i, part := range parts { // names must differ within a route
			if strings.HasPrefix(part, "{") && part != "{rest...}" {
				parts[i] = fmt.Sprintf("{%s%d}", part[1:2], i)
			}
		}
		candidate := append(slices.Clone(routes), [...]string{"GET", "POST"}[random.IntN(2)]+" /"+strings.Join(parts, "/"))
		if admitted(candidate) {
			routes = candidate
		}
	}
	return routes
}

// admitted asks the manifest's own rules.
func admitted(routes []string) bool {
	text := "apiVersion: platformd/v1\nname: mod\nversion: 1.0.0\nroutes:\n"
	for i, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		text += fmt.Sprintf("  - {id: r%d, method: %s, path: %q, access: public}\n", i, method, path)
	}
	_, err := manifest.Parse("module.yaml", []byte(text))
	return err == nil
}

func randomPath(random *rand.Rand) string {
	words := []string{"a", "ab", "abc", "b", "z"}
	var parts []string
	for range random.IntN(6) {
		parts = append(parts, words[random.IntN(len(words))])
	}
	if len(parts) == 0 {
		return ""
	}
	return "/" + strings.Join(parts, "/")
}

// plainly finds the route as one would with a finger on the list: segment by segment, what is written out goes before what
// is a parameter, and that before the rest.
func plainly(routes []string, method, path string) string {
	path = "/" + strings.TrimPrefix(path, "/")
	best := ""
	for _, route := range routes {
		routeMethod, pattern, _ := strings.Cut(route, " ")
		if routeMethod != method || !fits(pattern, path) {
			continue
		}
		if best == "" || kinds(pattern) < kinds(strings.TrimPrefix(best, method+" ")) {
			best = route
		}
	}
	return best
}

func fits(pattern, path string) bool {
	if pattern == "/" || path == "/" {
		return pattern == path
	}
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	for i, part := range want {
		switch {
		case i >= len(got):
			return false
		case strings.HasSuffix(part, "...}"):
			return true
		case !strings.HasPrefix(part, "{") && part != got[i]:
			return false
		}
	}
	return len(want) == len(got)
}

// kinds writes a pattern as one letter per segment.
func kinds(pattern string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(pattern, "/") {
		switch {
		case strings.HasSuffix(part, "...}"):
			out.WriteByte('c')
		case strings.HasPrefix(part, "{"):
			out.WriteByte('b')
		default:
			out.WriteByte('a')
		}
	}
	return out.String()
}
