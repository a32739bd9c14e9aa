package gateway

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/platformd/platformd/core/internal/canonical"
)

// maxQueryParams bounds how many parameters a query may have: a module would parse them all.
const maxQueryParams = 10_000

// checkTarget refuses a request whose target must not be routed, and otherwise makes sure that r.URL.Path is the path it
// has checked.
func checkTarget(r *http.Request) error {
	raw, ok := rawPath(r.RequestURI)
	if !ok {
		return fmt.Errorf("the request target %q is neither a path nor an http URL", r.RequestURI)
	}
	path, err := canonical.Decode(raw)
	if err != nil {
		return err
	}
	if path != r.URL.Path && r.URL.Path != "" { // empty: http://host
		return fmt.Errorf("the path %q can be read in two ways", raw)
	}
	r.URL.Path = path
	if strings.Count(r.URL.RawQuery, "&") >= maxQueryParams {
		return fmt.Errorf("the query has more than %d parameters", maxQueryParams)
	}
	return nil
}

// rawPath returns the path of a request target in origin form or absolute form (RFC 9112, section 3.2).
func rawPath(target string) (string, bool) {
	target, _, _ = strings.Cut(target, "?")
	if strings.HasPrefix(target, "/") {
		return target, true
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return "/", rest != "" && !strings.Contains(rest, "@")
	}
	host := rest[:slash]
	return rest[slash:], host != "" && !strings.Contains(host, "@")
}
