package plugintest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/mux"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// gateway does what the core's gateway does for one module: find the route, authenticate, authorize, limit, pass on.
type gateway struct {
	manifest *manifest.Manifest
	prefix   string // of every path
	link     *mux.Client
	mux      *http.ServeMux
	callers  *callers
}

func newGateway(m *manifest.Manifest, link *mux.Client, callers *callers) *gateway {
	g := &gateway{
		manifest: m, prefix: "/api/v1/" + m.Name, link: link, mux: http.NewServeMux(), callers: callers,
	}
	for _, route := range m.Routes {
		pattern := route.Method + " " + g.prefix + strings.TrimSuffix(route.Path, "/")
		g.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, &route) })
	}
	return g
}

// ServeHTTP implements http.Handler.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, pattern := g.mux.Handler(r)
	switch {
	case !canonical(r):
		problem.Invalid("the path is not canonical: send it as it is routed").Write(w)
	case strings.HasSuffix(r.URL.Path, "/"): // a wildcard of the mux matches nothing too, one of module.yaml does not
		notFound(w, r)
	case pattern == "":
		noRoute(w, r, handler)
	default:
		g.mux.ServeHTTP(w, r)
	}
}

// noRoute says the same as the mux's own refusal, which knows the methods that the path has, but as a problem.
func noRoute(w http.ResponseWriter, r *http.Request, refusal http.Handler) {
	said := httptest.NewRecorder()
	refusal.ServeHTTP(said, r)
	if said.Code != http.StatusMethodNotAllowed {
		notFound(w, r)
		return
	}
	w.Header().Set("Allow", said.Header().Get("Allow"))
	problem.New(http.StatusMethodNotAllowed, "method_not_allowed", "module.yaml has no route for "+r.Method+" here").Write(w)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	problem.New(http.StatusNotFound, "not_found", "module.yaml has no route for "+r.URL.Path).Write(w)
}

// canonical reports whether nothing in the path can be read in two ways.
func canonical(r *http.Request) bool {
	escaped := strings.ToLower(r.URL.EscapedPath())
	for _, ambiguous := range []string{"%2f", "%5c", "%00", "\\"} {
		if strings.Contains(escaped, ambiguous) {
			return false
		}
	}
	return path.Clean(r.URL.Path) == strings.TrimSuffix(r.URL.Path, "/")
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request, route *manifest.Route) {
	caller, refusal := g.authorize(r, route)
	if refusal != nil {
		refusal.Write(w)
		return
	}
	if r.ContentLength > int64(route.MaxBody) {
		tooLarge(route).Write(w)
		return
	}
	r.Body = http.MaxBytesReader(nil, r.Body, int64(route.MaxBody)) // nil: see mux.Client.Exchange
	timeout := timeoutOf(route)
	ctx, cancel := bound(r.Context(), timeout)
	defer cancel()
	call := &link.Call{
		Route: route.ID, Params: params(r, route), Principal: caller.principal, Ticket: caller.ticket,
		Path: cmp.Or(strings.TrimPrefix(r.URL.Path, g.prefix), "/"), Timeout: timeout,
	}
	pass := g.link.Exchange
	if route.Stream == manifest.StreamWebSocket && r.Header.Get("Upgrade") != "" {
		pass = g.link.Upgrade
	}
	if err := pass(w, r.WithContext(ctx), call); err != nil {
		failed(err, route).Write(w)
	}
}

// authorize decides who calls and whether they may.
func (g *gateway) authorize(r *http.Request, route *manifest.Route) (caller, *problem.Problem) {
	credentials, nobody := r.Header.Get("Authorization"), caller{principal: link.Anonymous()}
	token, _ := strings.CutPrefix(credentials, "Bearer ")
	found, known := g.callers.find(token)
	switch {
	case credentials == "" && route.Access == manifest.AccessPublic:
		return nobody, nil
	case !known:
		return nobody, problem.New(http.StatusUnauthorized, "unauthenticated", "send a valid token")
	case route.Permission != "" && !holds(found.permissions, route.Permission):
		return nobody, problem.New(http.StatusForbidden, "permission_denied",
			"this needs the permission "+route.Permission+": name it in plugintest.Options.Permissions")
	}
	return found, nil
}

func bound(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// timeoutOf is how long an exchange may take; 0 = as long as it likes. The timeout of a stream bounds only the wait for its
// beginning, which matters to clients, not to the module.
func timeoutOf(route *manifest.Route) time.Duration {
	if route.Stream != manifest.StreamNone {
		return 0
	}
	return route.Timeout.Std()
}

func params(r *http.Request, route *manifest.Route) []link.Param {
	var params []link.Param
	for _, segment := range route.Segments() {
		if segment.Param != "" {
			params = append(params, link.Param{Name: segment.Param, Value: r.PathValue(segment.Param)})
		}
	}
	return params
}

func tooLarge(route *manifest.Route) *problem.Problem {
	return problem.New(http.StatusRequestEntityTooLarge, "too_large",
		"the body is larger than the "+route.MaxBody.String()+" that module.yaml allows")
}

// failed is the answer where the module gave none.
func failed(err error, route *manifest.Route) *problem.Problem {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge(route)
	case errors.Is(err, context.DeadlineExceeded):
		return problem.New(http.StatusGatewayTimeout, "deadline_exceeded", "the module took longer than the route's timeout")
	case errors.Is(err, link.ErrRequestBody):
		return problem.Invalid("%v", err)
	}
	return problem.New(http.StatusBadGateway, "bad_gateway", err.Error())
}
