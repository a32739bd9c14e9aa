package auth

import (
	"slices"
	"time"
	"unicode/utf8"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Limits of a NewToken.
const (
	maxName        = 100 // characters
	maxPermissions = 200
	maxPattern     = 200                   // bytes
	maxTTL         = 3653 * 24 * time.Hour // ten years with their leap days
)

func (n NewToken) check() error {
	if n.TTL < time.Second || n.TTL > maxTTL {
		return problem.Invalid("a token is valid for at least one second and at most 10 years (fix: choose another ttl, such as 30d)")
	}
	if utf8.RuneCountInString(n.Name) > maxName || !canonical.Printable(n.Name) {
		return problem.Invalid("the name of a token has at most %d printable characters (fix: choose a shorter or plainer one)",
			maxName)
	}
	if len(n.Permissions) > maxPermissions {
		return problem.Invalid("a token has at most %d permissions (fix: use a pattern such as blog.*)", maxPermissions)
	}
	for _, pattern := range n.Permissions {
		if pattern == "" || len(pattern) > maxPattern || !canonical.Printable(pattern) {
			return problem.Invalid("%.40q is not a permission (fix: use a permission's name, NAME.* or *)", pattern)
		}
	}
	return nil
}

// unique drops repetitions and keeps the order. The result is not nil.
func unique(patterns []string) []string {
	kept := make([]string, 0, len(patterns))
	for _, pattern := range patterns {
		if !slices.Contains(kept, pattern) {
			kept = append(kept, pattern)
		}
	}
	return kept
}
