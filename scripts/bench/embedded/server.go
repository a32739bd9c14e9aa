package embedded

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/hashicorp/go-hclog"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
	"github.com/platformd/platformd/scripts/bench/internal/front"
)

// server answers a module's routes by its handlers, for callers whose tokens it knows.
type server struct {
	manifest *manifest.Manifest
	prefix   string
	log      hclog.Logger
	callers  map[[sha256.Size]byte]caller // by the token's hash
}

// caller is who holds a token, and what that opens.
type caller struct {
	principal   pluginapi.Principal
	permissions map[string]bool
}

// newServer knows one token, which opens everything.
func newServer(declared *manifest.Manifest, token string, log hclog.Logger) *server {
	everything := map[string]bool{}
	for _, permission := range declared.Permissions {
		everything[permission.Name] = true
	}
	holder := caller{
		principal:   pluginapi.Principal{Kind: link.KindToken, ID: "tok_embedded", Name: "embedded"},
		permissions: everything,
	}
	return &server{
		manifest: declared, prefix: "/api/v1/" + declared.Name, log: log,
		callers: map[[sha256.Size]byte]caller{sha256.Sum256([]byte(token)): holder},
	}
}

// engine has the manifest's routes.
func (s *server) engine(handlers map[string]pluginapi.Handler) (http.Handler, error) {
	e := front.NewEngine()
	for i := range s.manifest.Routes {
		route := &s.manifest.Routes[i]
		handle := handlers[route.ID]
		if handle == nil {
			return nil, fmt.Errorf("the module has no handler for its route %s (fix: name it in Module.Routes)", route.ID)
		}
		e.Handle(route.Method, s.prefix+pattern(route), s.serve(route, handle))
	}
	return e, nil
}

// pattern is a route's path as gin writes it.
func pattern(route *manifest.Route) string {
	var path strings.Builder
	for _, segment := range route.Segments() {
		switch {
		case segment.Wildcard:
			path.WriteString("/*" + segment.Param)
		case segment.Param != "":
			path.WriteString("/:" + segment.Param)
		default:
			path.WriteString("/" + segment.Literal)
		}
	}
	return path.String()
}

func (s *server) serve(route *manifest.Route, handle pluginapi.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		caller, known := s.identify(c.Request)
		switch {
		case !known && route.Access != manifest.AccessPublic:
			problem.New(http.StatusUnauthorized, "unauthenticated", "send a valid token").Write(c.Writer)
		case route.Permission != "" && !caller.permissions[route.Permission]:
			problem.New(http.StatusForbidden, "permission_denied", "the token lacks "+route.Permission).Write(c.Writer)
		default:
			s.verdict(c, route, handle(c.Writer, s.request(c, route, caller.principal)))
		}
	}
}

func (s *server) identify(r *http.Request) (caller, bool) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return caller{principal: link.Anonymous()}, false
	}
	holder, known := s.callers[sha256.Sum256([]byte(token))]
	if !known {
		holder.principal = link.Anonymous()
	}
	return holder, known
}

// request is the client's as a module's handler expects it.
func (s *server) request(c *gin.Context, route *manifest.Route, principal pluginapi.Principal) *http.Request {
	path := strings.TrimPrefix(c.Request.URL.Path, s.prefix)
	r := c.Request.WithContext(link.With(c.Request.Context(), &link.Call{Route: route.ID, Principal: principal, Path: path}))
	r.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
	if route.MaxBody > 0 {
		r.Body = http.MaxBytesReader(c.Writer, r.Body, int64(route.MaxBody))
	}
	for _, param := range c.Params {
		r.SetPathValue(param.Key, strings.TrimPrefix(param.Value, "/")) // gin's wildcards begin with one
	}
	return r
}

// verdict answers for a handler that returned an error.
func (s *server) verdict(c *gin.Context, route *manifest.Route, err error) {
	if err == nil {
		return
	}
	answer, public := problem.FromError(err)
	if !public && !errors.Is(err, http.ErrAbortHandler) {
		s.log.Error("handler failed", "route", route.ID, "error", err)
	}
	if c.Writer.Written() {
		panic(http.ErrAbortHandler) // else the client would take a part for the whole
	}
	answer.Write(c.Writer)
}
