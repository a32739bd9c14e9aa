package authz

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/platformd/platformd/plugin-api/nearest"
)

// everything is the pattern that matches every permission.
const everything = "*"

// Match reports whether a pattern covers a permission. A pattern is a permission's name, the first one or two segments of
// one followed by ".*" (blog.*, blog.post.*), or "*". Segments match whole and letter by letter: blog.* does not cover
// blogger.post.read. Whatever is not a permission's name is covered by nothing, "*" included.
func Match(pattern, permission string) bool {
	if permission == "" || strings.Contains(permission, everything) {
		return false
	}
	if pattern == everything || pattern == permission {
		return true
	}
	prefix, wild := strings.CutSuffix(pattern, everything)
	return wild && len(prefix) > 1 && strings.HasSuffix(prefix, ".") && strings.HasPrefix(permission, prefix)
}

// Allows reports whether any of the patterns covers the permission.
func Allows(patterns []string, permission string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Match(pattern, permission) })
}

// PatternError says that a string is not a pattern.
type PatternError struct{ Pattern string }

// Error implements error.
func (e *PatternError) Error() string {
	return fmt.Sprintf("%.80q is not a permission (fix: give a permission's name, such as blog.post.read, or its beginning "+
		"and a star, such as blog.*, or * alone)", e.Pattern)
}

// UnknownError says that a pattern covers no permission of any module that is installed.
type UnknownError struct {
	Pattern string
	Near    []string // patterns that were perhaps meant, the nearest first; at most 5
}

// Error implements error.
func (e *UnknownError) Error() string {
	hint := "`platformd module ls` lists the modules, `platformd module show NAME` their permissions"
	if len(e.Near) > 0 {
		hint = "perhaps " + strings.Join(e.Near, " or ") + "; " + hint
	}
	return fmt.Sprintf("no module has a permission %s (fix: %s)", e.Pattern, hint)
}

// validPattern is a permission's name, the beginning of one and a star, or a star.
var validPattern = regexp.MustCompile(`^(\*|` + segment + `\.(\*|` + segment + `\.(\*|` + segment + `)))$`)

// CheckPattern finds mistakes in a pattern before it is handed out. It returns a *PatternError if the pattern cannot match
// anything ever, and an *UnknownError if it matches nothing now.
func (r *Registry) CheckPattern(pattern string) error {
	if !validPattern.MatchString(pattern) {
		return &PatternError{Pattern: pattern}
	}
	all := r.All()
	known := slices.ContainsFunc(all, func(p Permission) bool { return Match(pattern, p.Name) })
	if known || pattern == everything {
		return nil
	}
	return &UnknownError{Pattern: pattern, Near: nearest.Names(pattern, alike(pattern, all))}
}

// alike returns the patterns that pattern could have been meant to be: names for a name, beginnings for a beginning.
func alike(pattern string, all []Permission) []string {
	var found []string
	segments := strings.Split(pattern, ".")
	for _, p := range all {
		candidate := p.Name
		if segments[len(segments)-1] == everything {
			beginning := strings.Split(p.Name, ".")[:len(segments)-1]
			candidate = strings.Join(append(beginning, everything), ".")
		}
		if !slices.Contains(found, candidate) {
			found = append(found, candidate)
		}
	}
	return found
}
