package gateway

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// pattern is a route's path below its module's prefix.
type pattern []manifest.Segment

// gin writes the pattern as gin wants it, below prefix. Parameters are named by position: to gin two names in one place
// are a conflict, to a manifest /posts/{id} and /posts/{slug}/comments are none.
func (p pattern) gin(prefix string) string {
	var out strings.Builder
	out.WriteString(prefix)
	for i, segment := range p {
		out.WriteByte('/')
		switch {
		case segment.Wildcard:
			out.WriteString("*" + strconv.Itoa(i))
		case segment.Param != "":
			out.WriteString(":" + strconv.Itoa(i))
		default:
			out.WriteString(segment.Literal)
		}
	}
	return out.String()
}

// match returns the parameters of path, a canonical path below the prefix, if the pattern matches it. A slash at the end
// matches nothing. The gateway relies on
// it, not on the router, for what it tells the module: what it authorized is then what it sends.
func (p pattern) match(path string) (params []link.Param, ok bool) {
	if path != "/" && strings.HasSuffix(path, "/") {
		return nil, false
	}
	rest := strings.TrimPrefix(path, "/")
	for i, segment := range p {
		if rest == "" {
			return nil, false
		}
		value := rest
		if segment.Wildcard {
			rest = ""
		} else {
			value, rest, _ = strings.Cut(rest, "/")
		}
		if segment.Param == "" {
			if value != segment.Literal {
				return nil, false
			}
			continue
		}
		if params == nil {
			params = make([]link.Param, 0, len(p)-i)
		}
		params = append(params, link.Param{Name: segment.Param, Value: value})
	}
	return params, rest == ""
}

// compare orders patterns so that of those that match a path the first is the one to use: in every segment a literal goes
// before a parameter, and that before a wildcard.
func (p pattern) compare(q pattern) int {
	return slices.CompareFunc(p, q, func(a, b manifest.Segment) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Literal, b.Literal))
	})
}

func rank(s manifest.Segment) int {
	switch {
	case s.Wildcard:
		return 2
	case s.Param != "":
		return 1
	}
	return 0
}
