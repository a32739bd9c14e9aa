package hop

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// reservedName is what no header of a client or a module may begin with, in any spelling.
const reservedName = "platformd"

// ValidField tells whether a header can be sent.
func ValidField(name string, values []string) bool {
	if !httpguts.ValidHeaderFieldName(name) {
		return false
	}
	for _, value := range values {
		if !httpguts.ValidHeaderFieldValue(value) {
			return false
		}
	}
	return true
}

// TakesTrailers tells whether a TE header asks for trailers.
func TakesTrailers(value string) bool {
	return httpguts.HeaderValuesContainsToken([]string{value}, "trailers")
}

// ForwardedToModule tells whether a header of a client travels on. nominated is what ConnectionOptions returned.
func ForwardedToModule(name string, nominated []string) bool {
	switch name {
	case "Content-Length", "Host", "Expect": // the transport says it in its own way
		return false
	case "Authorization": // the core authenticates: a module must never hold a caller's token
		return false
	}
	return !AboutOneHop(name) && !Reserved(name) && !ClaimsIdentity(name) && !Listed(nominated, name)
}

// AboutOneHop tells whether a header is about one connection only (RFC 9110, section 7.6.1). Name is in canonical form.
func AboutOneHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	}
	return false
}

// ConnectionOptions returns, sorted, the canonical names of the headers that a Connection header nominates. Headers by which
// the core says where a request came from cannot be nominated away: a client would hide itself.
func ConnectionOptions(values []string) []string {
	var names []string
	for _, value := range values {
		for option := range strings.SplitSeq(value, ",") {
			name := textproto.CanonicalMIMEHeaderKey(textproto.TrimString(option))
			if !AboutOneHop(name) && name != "Close" && !provenance(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// Listed looks a name up in a sorted list, which may hold thousands of names if somebody means ill.
func Listed(sorted []string, name string) bool {
	_, found := slices.BinarySearch(sorted, name)
	return found
}

func provenance(name string) bool {
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Request-Id", "Traceparent", "Tracestate":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// ExpectsContinue tells whether the client waits to be asked for its body.
func ExpectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// AllowedTrailer tells whether a field may be sent after a body: framing, routing and credentials may not (RFC 9110,
// section 6.5.1), and those of the core never.
func AllowedTrailer(name string) bool {
	switch name {
	case "Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Host", "Expect", "Authorization",
		"Cookie", "Set-Cookie", "Max-Forwards", "Cache-Control", "Range":
		return false
	}
	return !AboutOneHop(name) && !Reserved(name)
}

// TrailerToModule tells whether a field that a client sends after a body travels on.
func TrailerToModule(name string) bool { return AllowedTrailer(name) && !ClaimsIdentity(name) }

// UpgradeOf returns the protocols that a request or an answer asks to switch to, or "".
func UpgradeOf(header http.Header) string {
	if len(header["Upgrade"]) != 1 || !httpguts.HeaderValuesContainsToken(header["Connection"], "upgrade") {
		return ""
	}
	return header["Upgrade"][0]
}

// Reserved tells whether a header's name belongs to the core. Everything that is neither letter nor digit counts as "-":
// CGI and its heirs read them all as "_", so a module would take Platformd_Secret or Platformd.Secret for the real one.
func Reserved(name string) bool {
	if len(name) < len(reservedName) || name[0]|0x20 != reservedName[0] ||
		!strings.EqualFold(name[:len(reservedName)], reservedName) {
		return false
	}
	return len(name) == len(reservedName) || !alphanumeric(name[len(reservedName)])
}

func alphanumeric(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9'
}

// Safe tells whether a method promises to change nothing (RFC 9110, section 9.2.1).
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// VisibleASCII tells whether text is not empty and can stand in a header as it is.
func VisibleASCII(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return text != ""
}
