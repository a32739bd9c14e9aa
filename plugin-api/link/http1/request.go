package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/platformd/platformd/plugin-api/link"
)

var errLongBody = errors.New("the body is longer than its Content-Length")

// framing is how the body of a request travels to the module.
type framing int

const (
	noBody  framing = iota
	inline          // Content-Length, read whole and sent with the head
	sized           // Content-Length, streamed
	chunked         // streamed, possibly with trailers
)

func framingOf(r *http.Request) framing {
	switch {
	case r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody:
		return noBody
	case r.ContentLength < 0 || len(r.Trailer) > 0:
		return chunked
	case r.ContentLength <= maxInline:
		return inline
	default:
		return sized
	}
}

// streamed tells whether the body is sent by a goroutine of its own.
func (f framing) streamed() bool { return f == sized || f == chunked }

// appendHead appends the request line and the headers of the request, with the blank line that ends them.
func (x *exchange) appendHead(dst []byte, call *link.Call, protocol string) ([]byte, error) {
	dst, err := appendRequestLine(dst, x.r, call)
	if err != nil {
		return nil, err
	}
	dst = append(dst, x.client.secret...)
	if dst, err = x.calls.append(dst, call); err != nil {
		return nil, err
	}
	if dst, err = appendForwarded(dst, x.r.Header); err != nil {
		return nil, err
	}
	if protocol != "" {
		dst = append(dst, "Connection: Upgrade\r\n"...)
		dst = appendLine(dst, "Upgrade", protocol)
	}
	dst = appendFraming(dst, x.r)
	return append(dst, '\r', '\n'), nil
}

func appendRequestLine(dst []byte, r *http.Request, call *link.Call) ([]byte, error) {
	if !strings.HasPrefix(call.Path, "/") {
		return nil, fmt.Errorf("path %q cannot be sent: it must begin with /", call.Path)
	}
	if !httpguts.ValidHeaderFieldName(r.Method) || !httpguts.ValidHostHeader(r.Host) {
		return nil, fmt.Errorf("method %q or host %q cannot be sent", r.Method, r.Host)
	}
	dst = append(append(dst, r.Method...), ' ')
	dst = appendEscaped(dst, call.Path, pathSafe)
	if r.URL.RawQuery != "" {
		dst = appendEscaped(append(dst, '?'), r.URL.RawQuery, querySafe)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	return appendLine(dst, "Host", r.Host), nil
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

// appendForwarded appends the headers that travel on to the module.
func appendForwarded(dst []byte, header http.Header) ([]byte, error) {
	nominated := connectionOptions(header["Connection"])
	for name, values := range header {
		if !forwardedToModule(name, nominated) {
			continue
		}
		if !validField(name, values) {
			return nil, fmt.Errorf("header %q cannot be sent: it holds a control byte", name)
		}
		for _, value := range values {
			dst = appendLine(dst, name, value)
		}
	}
	if slices.ContainsFunc(header["Te"], takesTrailers) {
		dst = append(dst, "Te: trailers\r\n"...)
	}
	return dst, nil
}

func validField(name string, values []string) bool {
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

func takesTrailers(value string) bool {
	return httpguts.HeaderValuesContainsToken([]string{value}, "trailers")
}

func forwardedToModule(name string, nominated []string) bool {
	switch name {
	case "Content-Length", "Host", "Expect": // appendHead writes its own
		return false
	case "Authorization": // the core authenticates: a module must never hold a caller's token
		return false
	}
	return !hopByHop(name) && !reserved(name) && !listed(nominated, name)
}

// hopByHop tells whether a header is about one connection only (RFC 9110, section 7.6.1). Name is in canonical form.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	}
	return false
}

// connectionOptions returns, sorted, the canonical names of the headers that a Connection header nominates. Headers by which
// the core says where a request came from cannot be nominated away: a client would hide itself.
func connectionOptions(values []string) []string {
	var names []string
	for _, value := range values {
		for option := range strings.SplitSeq(value, ",") {
			name := textproto.CanonicalMIMEHeaderKey(textproto.TrimString(option))
			if !hopByHop(name) && name != "Close" && !provenance(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// listed looks a name up in a sorted list, which may hold thousands of names if somebody means ill.
func listed(sorted []string, name string) bool {
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

// appendFraming appends the headers that say how the body travels.
func appendFraming(dst []byte, r *http.Request) []byte {
	switch framingOf(r) {
	case noBody:
		if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
			return append(dst, "Content-Length: 0\r\n"...)
		}
		return dst
	case inline:
		return appendLength(dst, r.ContentLength)
	case sized:
		return appendExpect(appendLength(dst, r.ContentLength), r)
	default:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		return appendExpect(appendTrailerNames(dst, r.Trailer), r)
	}
}

func appendLength(dst []byte, length int64) []byte {
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), length, 10)
	return append(dst, '\r', '\n')
}

func appendTrailerNames(dst []byte, trailer http.Header) []byte {
	for name := range trailer {
		if allowedTrailer(name) {
			dst = appendLine(dst, "Trailer", name)
		}
	}
	return dst
}

// appendExpect passes the client's wish to be asked for a large body on to the module, which may refuse without it.
func appendExpect(dst []byte, r *http.Request) []byte {
	if expectsContinue(r) {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	return dst
}

func expectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// allowedTrailer tells whether a field may be sent after a body: framing, routing and credentials may not (RFC 9110,
// section 6.5.1), and those of the core never.
func allowedTrailer(name string) bool {
	switch name {
	case "Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Host", "Expect", "Authorization",
		"Cookie", "Set-Cookie", "Max-Forwards", "Cache-Control", "Range":
		return false
	}
	return !hopByHop(name) && !reserved(name)
}

// upgradeOf returns the protocols that a request or an answer asks to switch to, or "".
func upgradeOf(header http.Header) string {
	if len(header["Upgrade"]) != 1 || !httpguts.HeaderValuesContainsToken(header["Connection"], "upgrade") {
		return ""
	}
	return header["Upgrade"][0]
}

// prepare builds what is sent first: the head and, if it is small, the body.
func (x *exchange) prepare(call *link.Call, protocol string) error {
	x.framing = framingOf(x.r)
	if protocol != "" && x.framing != noBody {
		return fmt.Errorf("%w: a request to switch protocols must not have one", ErrRequestBody)
	}
	head, err := x.appendHead(x.out[:0], call, protocol)
	if err != nil {
		return err
	}
	x.out = head
	if x.framing == inline {
		err = x.readInline(int(x.r.ContentLength))
	}
	return err
}

// readInline appends the whole body to x.out. It reads to EOF, not just to the last byte: only then does net/http begin to
// watch for a client that goes away.
func (x *exchange) readInline(length int) error {
	start := len(x.out)
	buf := slices.Grow(x.out, length+1) // one byte more than fits, to meet EOF
	room := buf[start : start+length+1]
	for filled := 0; ; {
		n, err := x.watch.read(x.r.Body, room[filled:])
		filled += n
		if filled > length {
			return x.watch.badBody(errLongBody)
		}
		if err != nil {
			x.out = buf[:start+filled]
			return x.endOfBody(err, filled == length)
		}
	}
}

// endOfBody turns what ended the client's body into an error, unless it is the end where it should be.
func (x *exchange) endOfBody(err error, complete bool) error {
	switch {
	case !atEnd(err):
		return err
	case !complete:
		return x.watch.badBody(io.ErrUnexpectedEOF)
	default:
		return nil
	}
}

// atEnd tells whether a Read ended as io.Reader promises: with EOF itself. An error that wraps it is a failure.
func atEnd(err error) bool { return err == io.EOF } //nolint:errorlint // see above
