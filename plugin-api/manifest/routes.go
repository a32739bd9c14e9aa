package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxPath is far beyond any real route and well below what a router's counters hold.
const maxPath = 1024

const (
	paramPattern   = `[a-zA-Z_][a-zA-Z0-9_]*`
	literalPattern = `[A-Za-z0-9._~!$&'()+,;=@-]+` // what RFC 3986 lets stand in a path unescaped, without : and *
	routePattern   = `^/$|^(/(\{` + paramPattern + `\}|` + literalPattern + `))*` +
		`/(\{` + paramPattern + `(\.\.\.)?\}|` + literalPattern + `)$`
)

var (
	paramRule   = regexp.MustCompile(`^` + paramPattern + `$`)
	literalRule = regexp.MustCompile(`^` + literalPattern + `$`)
)

func methods() []string {
	return []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
}

func streams() []string { return []string{StreamNone, StreamSSE, StreamWebSocket, StreamBody} }

// Segment is one part of a route's path: a literal, or a parameter.
type Segment struct {
	// Literal is empty for a parameter.
	Literal string
	// Param is the parameter's name, empty for a literal.
	Param string
	// Wildcard marks a parameter that matches all the segments that are left, at least one.
	Wildcard bool
}

// Segments takes a valid route's path apart, in order. The path "/" has none.
func (r *Route) Segments() []Segment {
	if r.Path == "/" {
		return nil
	}
	var segments []Segment
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Path, "/"), "/") {
		segments = append(segments, parseSegment(part))
	}
	return segments
}

func parseSegment(part string) Segment {
	name, isParam := strings.CutPrefix(part, "{")
	if !isParam {
		return Segment{Literal: part}
	}
	name, wildcard := strings.CutSuffix(strings.TrimSuffix(name, "}"), "...")
	return Segment{Param: name, Wildcard: wildcard}
}

func (m *Manifest) checkRoutes(errs *Errors) {
	ids, tree := map[string]bool{}, place{}
	for i := range m.Routes {
		r, at := &m.Routes[i], fmt.Sprintf("routes[%d]", i)
		r.checkID(errs, at)
		if ids[r.ID] {
			errs.add(at+".id", "duplicate_route", fmt.Sprintf("the route id %q is already taken", r.ID),
				"give each route an id of its own")
		}
		ids[r.ID] = true
		m.checkAccess(errs, at, r)
		r.checkStream(errs, at)
		r.checkLimits(errs, at)
		r.checkIdempotency(errs, at)
		m.checkNeeds(errs, at+".needs", r.Needs)
		checkProse(errs, at+".summary", r.Summary)
		if checkPattern(errs, at+".path", r.Path) {
			checkConflict(errs, at+".path", r, tree.child(Segment{Literal: r.Method}).add(r))
		}
	}
}

func (r *Route) checkID(errs *Errors, at string) {
	if !routeIDRule.MatchString(r.ID) {
		errs.add(at+".id", "bad_route_id", fmt.Sprintf("%+q is not a route id", r.ID),
			"use letters, digits and _, beginning with a letter")
	}
	if !slices.Contains(methods(), r.Method) {
		errs.add(at+".method", "bad_method", fmt.Sprintf("%+q is not a method", r.Method),
			"use one of "+strings.Join(methods(), ", "))
	}
}

// checkAccess makes sure that nobody forgets to say who may call a route.
func (m *Manifest) checkAccess(errs *Errors, at string, r *Route) {
	declared := func(p Permission) bool { return p.Name == r.Permission }
	switch {
	case r.Permission == "" && r.Access == "":
		errs.add(at+".permission", "route_without_access", fmt.Sprintf("the route %q has neither permission nor access", r.ID),
			"add permission: with one that is declared above, or access: authenticated, or access: public")
	case r.Permission != "" && r.Access != "":
		errs.add(at+".access", "ambiguous_access", fmt.Sprintf("the route %q has both permission and access", r.ID),
			"remove one of the two")
	case r.Permission != "" && !slices.ContainsFunc(m.Permissions, declared):
		errs.add(at+".permission", "undeclared_permission",
			fmt.Sprintf("the permission %q is not declared", r.Permission),
			"declare it under permissions, with a description")
	case r.Access != "" && r.Access != AccessPublic && r.Access != AccessAuthenticated:
		errs.add(at+".access", "bad_access", fmt.Sprintf("access %q is not known", r.Access), "write public or authenticated")
	}
}

func (r *Route) checkStream(errs *Errors, at string) {
	if r.Stream != "" && !slices.Contains(streams(), r.Stream) {
		errs.add(at+".stream", "bad_stream", fmt.Sprintf("stream %q is not known", r.Stream),
			"use one of "+strings.Join(streams(), ", "))
	}
	if (r.Stream == StreamSSE || r.Stream == StreamWebSocket) && r.Method != "GET" {
		errs.add(at+".stream", "stream_needs_get", fmt.Sprintf("a route with stream: %s is called with GET", r.Stream),
			"write method: GET")
	}
}

func (r *Route) checkLimits(errs *Errors, at string) {
	if r.MaxBody < 0 {
		errs.add(at+".maxBody", "bad_size", fmt.Sprintf("maxBody %s is negative", r.MaxBody),
			"write for example maxBody: 1MiB")
	}
	if r.Timeout < 0 {
		errs.add(at+".timeout", "bad_duration", fmt.Sprintf("timeout %s is negative", r.Timeout),
			"write for example timeout: 30s")
	}
}

// checkIdempotency refuses the promise where it says nothing: other methods may be sent twice anyhow.
func (r *Route) checkIdempotency(errs *Errors, at string) {
	if r.IdempotencyKey && r.Method != "POST" && r.Method != "PATCH" {
		errs.add(at+".idempotencyKey", "needless_idempotency_key",
			fmt.Sprintf("a %s request is sent again without a key, if its module ends before it answers", r.Method),
			"remove it: only POST and PATCH need it")
	}
}

func (m *Manifest) checkNeeds(errs *Errors, field string, needs []string) {
	again := repeated(needs)
	for i, name := range needs {
		at := fmt.Sprintf("%s[%d]", field, i)
		_, required := m.Requires.Modules[name]
		_, optional := m.Requires.Optional[name]
		if !required && !optional {
			errs.add(at, "undeclared_need", fmt.Sprintf("the module does not require %+q", name),
				"name it in requires.modules or requires.optional")
		} else if again[i] {
			errs.add(at, "duplicate_need", name+" is named twice", "remove one of the two")
		}
	}
}

// checkPattern reports whether path is a pattern, and complains about the first part of it that is not.
func checkPattern(errs *Errors, field, path string) bool {
	message, params := "", map[string]bool{}
	parts := strings.Split(path, "/")
	switch {
	case len(path) > maxPath:
		message = fmt.Sprintf("is longer than %d bytes", maxPath)
	case !strings.HasPrefix(path, "/"):
		message = "does not begin with /"
	case path == "/":
		return true
	case strings.HasSuffix(path, "/"):
		message = "ends with /"
	}
	for i := 1; i < len(parts) && message == ""; i++ {
		message = checkPart(parts[i], i == len(parts)-1, params)
	}
	if message != "" {
		errs.add(field, "bad_route_path", fmt.Sprintf("the path %+.99q %s", path, message),
			"write a plain absolute path such as /posts/{id}; its last part may be {rest...}")
	}
	return message == ""
}

// checkPart returns what is wrong with one part of a path, or nothing. It adds the part's parameter to params.
func checkPart(part string, last bool, params map[string]bool) string {
	s := parseSegment(part)
	switch {
	case part == "":
		return "has // in it"
	case part == "." || part == "..":
		return "has a " + part + " part in it"
	case s.Literal != "" && !literalRule.MatchString(part):
		return fmt.Sprintf("has %+q in it: only letters, digits and . _ ~ ! $ & ' ( ) + , ; = @ - may stand there", part)
	case s.Literal != "":
		return ""
	case !strings.HasSuffix(part, "}") || !paramRule.MatchString(s.Param):
		return fmt.Sprintf("has %+q in it, which is not a parameter", part)
	case s.Wildcard && !last:
		return fmt.Sprintf("goes on after %s, which takes everything", part)
	case params[s.Param]:
		return "names the parameter " + s.Param + " twice"
	}
	params[s.Param] = true
	return ""
}

func checkConflict(errs *Errors, field string, r, rival *Route) {
	if rival != nil {
		errs.add(field, "route_conflict",
			fmt.Sprintf("%s %s conflicts with %s, the path of %q", r.Method, r.Path, rival.Path, rival.ID),
			"change or remove one of the two; a {name...} part leaves no room for others in its place")
	}
}

// place is a point in the tree of one method's paths. It knows the routes that were added before.
type place struct {
	next   map[string]*place // by literal; by "{}" for a parameter, whatever its name
	here   *Route            // the route whose path ends here
	wild   *Route            // the route whose wildcard takes everything that follows
	beyond *Route            // some route that goes on from here
}

// add returns the route that r conflicts with, or nil. A wildcard shares its place with nothing else, because the
// gateway's router admits no sibling of a wildcard: /files/{rest...} excludes /files/list and /files/{id}, but not /files.
func (p *place) add(r *Route) *Route {
	for _, s := range r.Segments() {
		if p.wild != nil {
			return p.wild
		}
		if s.Wildcard {
			rival := p.beyond
			p.wild, p.beyond = r, r
			return rival
		}
		p.beyond = r
		p = p.child(s)
	}
	rival := p.here
	p.here = r
	return rival
}

func (p *place) child(s Segment) *place {
	key := s.Literal
	if s.Param != "" {
		key = "{}"
	}
	if p.next == nil {
		p.next = map[string]*place{}
	}
	if p.next[key] == nil {
		p.next[key] = &place{}
	}
	return p.next[key]
}
