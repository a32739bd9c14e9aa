package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// apiPrefix is what all modules are below.
const apiPrefix = "/api/v1/"

// table is one immutable set of modules and routes. SetModules builds a new one; requests keep the one they began with.
type table struct {
	gateway *Gateway
	engine  *gin.Engine
	modules map[string]*module
}

// module is what a table knows of one module.
type module struct {
	revision string // of what it is made from
	// unavailable says why none of its routes is served; empty if they are.
	unavailable string
	// routes are in the order in which they are to be tried.
	routes []*route
}

// route is one route of a manifest or of the platform itself, and all that deciding on a request takes.
type route struct {
	manifest.Route
	gateway *Gateway
	module  string
	// revision is of the module whose manifest the route is in.
	revision string
	prefix   string // "/api/v1/blog"; empty for the platform's own
	pattern  pattern
	asks     bool // the module may ask the core something in a caller's name
	// own answers instead of a module; nil for a module's routes.
	own func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error
}

// SetModules replaces what the gateway routes to. Modules that are held, and those that unavailable gives a reason for,
// answer 503 with their reason; unavailable may name modules that are not in mods. A module whose routes conflict is left
// out likewise, and returned with the reason. Requests that are under way are not disturbed.
func (g *Gateway) SetModules(mods []*catalog.Module, unavailable map[string]string) map[string]error {
	next, refused := g.Prepare(mods, unavailable)
	next()
	return refused
}

// Prepare does what SetModules does, but for the last step, which what it returns does: that does not wait, so that it can be a
// part of something larger (instance.Registry.Switch). Of several tables that are prepared, the one that is put in place last
// counts. A request that has been decided on by an older one and finds an instance of another revision is decided on anew.
func (g *Gateway) Prepare(mods []*catalog.Module, unavailable map[string]string) (put func(), refused map[string]error) {
	reasons := maps.Clone(unavailable)
	if reasons == nil {
		reasons = map[string]string{}
	}
	refused = map[string]error{}
	for {
		candidate, culprit, err := g.build(mods, reasons)
		if err == nil {
			return func() { g.table.Store(candidate) }, refused
		}
		refused[culprit], reasons[culprit] = err, err.Error()
	}
}

// build makes a table. If the routes of one module cannot be registered, it returns that module's name and the reason.
func (g *Gateway) build(mods []*catalog.Module, reasons map[string]string) (_ *table, culprit string, err error) {
	t := &table{gateway: g, engine: g.newEngine(), modules: map[string]*module{}}
	t.engine.NoRoute(t.miss)
	for name, reason := range reasons {
		t.modules[name] = &module{unavailable: reason}
	}
	t.modules[platformModule] = &module{routes: g.own} // also where something that calls itself so was refused
	for _, mod := range mods {
		name := mod.Manifest.Name
		if t.modules[name] != nil {
			continue
		}
		if mod.Held != nil {
			t.modules[name] = &module{unavailable: mod.Held.Error()}
			continue
		}
		t.modules[name] = &module{revision: mod.Revision, routes: g.routesOf(mod)}
		if err := register(t.engine, t.modules[name].routes); err != nil {
			return nil, name, err
		}
	}
	return t, "", nil
}

// newEngine returns gin without anything that answers a request before it is decided on.
func (g *Gateway) newEngine() *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // gin's own global; any other mode prints to stdout
	engine := gin.New()
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	// Both are checked by miss. Gin forgets branches when it looks for methods, as it does when it looks for routes.
	engine.HandleMethodNotAllowed = false
	if err := engine.SetTrustedProxies(g.server.TrustedProxies); err != nil {
		_ = engine.SetTrustedProxies(nil) // New has accepted them; if gin does not, nobody is trusted
	}
	g.addProbes(engine)
	for _, rt := range g.own { // New has seen that they get on
		engine.Handle(rt.Method, rt.pattern.gin(rt.prefix), rt.serve)
	}
	return engine
}

// register adds routes to the engine; what gin panics about becomes an error.
func register(engine *gin.Engine, routes []*route) (err error) {
	var current *route
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("route %s (%s %s) cannot be served beside the others: %v"+
				" (fix: change its path in module.yaml)", current.ID, current.Method, current.Path, cause)
		}
	}()
	for _, current = range routes {
		engine.Handle(current.Method, current.pattern.gin(current.prefix), current.serve)
	}
	return nil
}

// routesOf returns the routes of a manifest, with their heads.
func (g *Gateway) routesOf(mod *catalog.Module) []*route {
	var routes []*route
	m := mod.Manifest
	for _, declared := range m.Routes {
		routes = append(routes, &route{
			Route: declared, gateway: g, module: m.Name, revision: mod.Revision, prefix: apiPrefix + m.Name,
			pattern: declared.Segments(), asks: asksCore(m),
		})
	}
	return g.withHeads(routes)
}

// withHeads adds to each GET route that is no endless stream its HEAD, and puts all in the order in which to try them.
func (g *Gateway) withHeads(routes []*route) []*route {
	var heads []*route
	for _, rt := range routes {
		if rt.Method == http.MethodGet && !rt.endless() {
			head := *rt
			head.Method = http.MethodHead
			heads = append(heads, &head)
		}
	}
	routes = g.addHeads(routes, heads)
	slices.SortStableFunc(routes, func(a, b *route) int { return a.pattern.compare(b.pattern) })
	return routes
}

// addHeads adds those heads that the HEAD routes of the manifest leave room for.
func (g *Gateway) addHeads(routes, heads []*route) []*route {
	var own []*route
	for _, rt := range routes {
		if rt.Method == http.MethodHead {
			own = append(own, rt)
		}
	}
	for _, head := range heads {
		// Only a manifest with HEAD routes needs the trial.
		if len(own) == 0 || register(gin.New(), append(slices.Clone(own), head)) == nil {
			routes = append(routes, head)
		}
	}
	return routes
}

// miss answers what gin found no route for. Gin gives up on some paths that do have one (/a/{x} beside /{y}/b, and the
// path /a/c/b, say), so the manifest's patterns have the last word.
func (t *table) miss(c *gin.Context) {
	a := answerOf(c)
	if err := t.answer(a, c.Request); err != nil && !t.gateway.decideAnew(a, c.Request, err) {
		t.gateway.refuse(a, c.Request, err)
	}
	c.Writer.WriteHeaderNow() // tells gin that there is an answer
}

func (t *table) answer(a *answer, r *http.Request) error {
	name, path := split(r.URL.Path)
	mod := t.modules[name]
	if mod == nil || name == platformModule { // the platform has routes outside of its prefix, too
		mod, path = t.modules[platformModule], r.URL.Path
	}
	if mod.unavailable != "" {
		return unavailable("module "+name+" is not served: "+mod.unavailable, retryLater)
	}
	if strings.HasSuffix(r.URL.Path, "/") {
		return notFound()
	}
	var allowed []string
	for _, rt := range mod.routes {
		if _, ok := rt.pattern.match(path); !ok {
			continue
		}
		if rt.Method == r.Method {
			return rt.handle(a, r)
		}
		if !slices.Contains(allowed, rt.Method) {
			allowed = append(allowed, rt.Method)
		}
	}
	switch {
	case len(allowed) > 0:
		return methodNotAllowed(a, allowed)
	case t.gateway.probes()[r.URL.Path] != nil:
		return methodNotAllowed(a, []string{http.MethodGet, http.MethodHead})
	}
	return notFound()
}

func methodNotAllowed(a *answer, allowed []string) error {
	slices.Sort(allowed)
	list := strings.Join(allowed, ", ")
	a.Header().Set("Allow", list)
	return problem.New(http.StatusMethodNotAllowed, codeMethodNotAllowed, "here one can use "+list)
}

// split takes a path apart into a module's name and the path below its prefix.
func split(path string) (module, rest string) {
	path, found := strings.CutPrefix(path, apiPrefix)
	if !found {
		return "", ""
	}
	module, _, _ = strings.Cut(path, "/")
	return module, below(module, path)
}

// below returns the part of path that follows prefix; it begins with "/".
func below(prefix, path string) string {
	if rest := path[len(prefix):]; rest != "" {
		return rest
	}
	return "/"
}

// answerOf finds our ResponseWriter under gin's. Gin's own is left alone: it delays headers and knows no deadlines.
func answerOf(c *gin.Context) *answer {
	wrapped, ok := c.Writer.(interface{ Unwrap() http.ResponseWriter })
	if ok {
		if a, ok := wrapped.Unwrap().(*answer); ok {
			return a
		}
	}
	panic(fmt.Sprintf("gin wraps the answer in a %T", c.Writer))
}
