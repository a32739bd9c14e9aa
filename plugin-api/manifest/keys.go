package manifest

import "regexp"

var listIndex = regexp.MustCompile(`\[\d+\]`)

// generic turns routes[3].id into routes.id.
func generic(field string) string { return listIndex.ReplaceAllString(field, "") }

// comesLater reports whether a key belongs to a capability that platformd does not have yet: it must never be accepted in
// silence, since its author would believe that it works.
func comesLater(field string) bool {
	switch generic(field) {
	case "runtime.upgrade":
		return true
	}
	return false
}
