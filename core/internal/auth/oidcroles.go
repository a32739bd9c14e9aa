package auth

import (
	"slices"
	"strings"
)

// rolesOf returns the roles that the claims of an ID token are worth, sorted, each once. What the configuration does not name is
// worth nothing.
func (i *issuer) rolesOf(claims map[string]any) []string {
	roles := []string{}
	for _, value := range texts(claimAt(claims, i.RoleClaim)) {
		roles = append(roles, i.Roles[value]...)
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// claimAt finds a claim by its name, or by the names of those that it is nested in. A name may itself hold dots, as URLs do.
func claimAt(claims map[string]any, name string) any {
	if found, ok := claims[name]; ok {
		return found
	}
	for at := range len(name) {
		if name[at] != '.' {
			continue
		}
		if inner, ok := claims[name[:at]].(map[string]any); ok {
			if found := claimAt(inner, name[at+1:]); found != nil {
				return found
			}
		}
	}
	return nil
}

// texts returns a claim's text, or texts; anything else is none.
func texts(claim any) (found []string) {
	switch value := claim.(type) {
	case string:
		return []string{strings.TrimSpace(value)}
	case []any:
		for _, item := range value {
			if text, ok := item.(string); ok {
				found = append(found, text)
			}
		}
	}
	return found
}

func intersection(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}
