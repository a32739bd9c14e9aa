package hop

import "strings"

// AppendPath appends a decoded path as it stands in a request target.
func AppendPath(dst []byte, path string) []byte { return appendEscaped(dst, path, pathSafe) }

// AppendQuery appends what a client sent as a query, escapes included.
func AppendQuery(dst []byte, query string) []byte { return appendEscaped(dst, query, querySafe) }

// PathIsSafe tells whether AppendPath would escape nothing.
func PathIsSafe(path string) bool {
	for i := range len(path) {
		if !pathSafe(path[i]) {
			return false
		}
	}
	return true
}

// appendEscaped appends s with every byte that is not safe as %XX.
func appendEscaped(dst []byte, s string, safe func(byte) bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if b := s[i]; safe(b) {
			dst = append(dst, b)
		} else {
			dst = append(dst, '%', digits[b>>4], digits[b&15])
		}
	}
	return dst
}

// pathSafe: unreserved, sub-delims and the three that a path allows besides them (RFC 3986, section 3.3).
func pathSafe(b byte) bool {
	return alphanumeric(b) || strings.IndexByte("-._~!$&'()*+,;=:@/", b) >= 0
}

// querySafe lets pass what the client sent, escapes included, but nothing that could end the request line or begin a
// fragment.
func querySafe(b byte) bool { return b > ' ' && b < 0x7f && b != '#' }
