package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/auth"
	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// platformModule stands for the platform where a route's module is named. No module may be called so.
const platformModule = "platform"

// PlatformPrefix is what the platform's own API is below.
const PlatformPrefix = apiPrefix + platformModule

// What a PlatformRoute has that says nothing about it.
const (
	defaultOwnBody    = 64 << 10
	defaultOwnTimeout = 10 * time.Second
)

// PlatformRoute is an HTTP entry that the platform answers itself. It is found, guarded and limited as a module's route is, and
// served whether or not any module is. A GET route that does not Stream is one for HEAD too.
type PlatformRoute struct {
	// ID names the route in metrics and in a Ruling.
	ID     string
	Method string
	// Path is the whole path: a pattern as in a manifest, below PlatformPrefix; or one without parameters that is not below
	// /api/v1/, such as /.well-known/jwks.json.
	Path string
	// Permission is what a caller must hold. Without one, Access is manifest.AccessPublic or manifest.AccessAuthenticated.
	Permission string
	Access     string
	// MaxBody is in bytes; 0 = 64 KiB. Longer bodies are answered with 413.
	MaxBody int64
	// Timeout bounds the exchange, by the request's context and the connection's deadlines; 0 = 10 s. That of a stream
	// bounds the time until its answer begins; 0 = no limit.
	Timeout time.Duration
	// Stream says that the answer goes on until the client leaves or the platform stops; then the request's context ends.
	Stream bool
	// Serve answers the request. An error before anything is written is answered as problem.FromError says, and logged if it
	// says that nobody may see it; after that it cuts the connection. Parameters are in r.PathValue, the client's address,
	// without a port, in r.RemoteAddr, and scheme and host that the client used in X-Forwarded-Proto and -Host, which no client
	// can forge. There is no Authorization header any more. Cache-Control is no-store until Serve says otherwise.
	Serve func(w http.ResponseWriter, r *http.Request, caller auth.Identity) error
}

// ownRoutes makes routes of what the platform answers itself, and checks that they can be served.
func (g *Gateway) ownRoutes(declared []PlatformRoute) ([]*route, error) {
	var routes []*route
	ids := map[string]bool{}
	for i := range declared {
		p := &declared[i]
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("the platform's route %q (%s %s): %w", p.ID, p.Method, p.Path, err)
		}
		if ids[p.ID] {
			return nil, fmt.Errorf("the platform has two routes %q (fix: give each an id of its own)", p.ID)
		}
		ids[p.ID] = true
		routes = append(routes, p.route(g))
	}
	routes = g.withHeads(routes)
	return routes, register(g.newEngine(), routes)
}

// check finds what would leave a route open, or out of reach.
func (p *PlatformRoute) check() error {
	below := strings.HasPrefix(p.Path, PlatformPrefix+"/")
	switch {
	case p.ID == "" || p.Serve == nil:
		return errors.New("it lacks an id or its Serve (fix: set both)")
	case (p.Permission == "") == (p.Access == ""):
		return errors.New("it needs either a permission or an access (fix: set one of the two)")
	case p.Access != "" && p.Access != manifest.AccessPublic && p.Access != manifest.AccessAuthenticated:
		return fmt.Errorf("there is no access %q (fix: public or authenticated)", p.Access)
	case !below && (strings.HasPrefix(p.Path, apiPrefix) || strings.ContainsAny(p.Path, "{}")):
		return fmt.Errorf("it is a module's to serve, or not for sure one path (fix: put it below %s)", PlatformPrefix)
	case canonical.Check(p.Path) != nil || p.Path == "/" || strings.HasSuffix(p.Path, "/"):
		return errors.New("nobody can ask for that path (fix: begin it with a slash, and end it without one)")
	case p.MaxBody < 0 || p.Timeout < 0:
		return errors.New("a limit is negative (fix: leave it out for the default)")
	}
	return nil
}

func (p *PlatformRoute) route(g *Gateway) *route {
	rt := &route{gateway: g, module: platformModule, own: p.Serve, Route: manifest.Route{
		ID: p.ID, Method: p.Method, Path: p.Path, Permission: p.Permission, Access: p.Access, Stream: manifest.StreamNone,
		MaxBody: manifest.Size(p.MaxBody), Timeout: manifest.Duration(p.Timeout),
	}}
	rt.pattern = rt.Segments()
	if p.Stream {
		rt.Stream = manifest.StreamSSE
	} else if rt.Timeout == 0 {
		rt.Timeout = manifest.Duration(defaultOwnTimeout)
	}
	if rt.MaxBody == 0 {
		rt.MaxBody = defaultOwnBody
	}
	return rt
}
