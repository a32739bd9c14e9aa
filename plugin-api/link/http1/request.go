package http1

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

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
		if x.lend = link.SocketOf(x.r.Context()); x.lend != nil {
			dst = appendLine(dst, headerHandover, "1")
		}
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
	dst = hop.AppendPath(dst, call.Path)
	if r.URL.RawQuery != "" {
		dst = hop.AppendQuery(append(dst, '?'), r.URL.RawQuery)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	return appendLine(dst, "Host", r.Host), nil
}

// appendForwarded appends the headers that travel on to the module.
func appendForwarded(dst []byte, header http.Header) ([]byte, error) {
	nominated := hop.ConnectionOptions(header["Connection"])
	for name, values := range header {
		if !hop.ForwardedToModule(name, nominated) {
			continue
		}
		if !hop.ValidField(name, values) {
			return nil, fmt.Errorf("header %q cannot be sent: it holds a control byte", name)
		}
		for _, value := range values {
			dst = appendLine(dst, name, value)
		}
	}
	if slices.ContainsFunc(header["Te"], hop.TakesTrailers) {
		dst = append(dst, "Te: trailers\r\n"...)
	}
	return dst, nil
}

// appendFraming appends the headers that say how the body travels.
func appendFraming(dst []byte, r *http.Request) []byte {
	switch hop.FramingOf(r) {
	case hop.NoBody:
		if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
			return append(dst, "Content-Length: 0\r\n"...)
		}
		return dst
	case hop.Inline:
		return appendLength(dst, r.ContentLength)
	case hop.Sized:
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
		if hop.TrailerToModule(name) {
			dst = appendLine(dst, "Trailer", name)
		}
	}
	return dst
}

// appendExpect passes the client's wish to be asked for a large body on to the module, which may refuse without it.
func appendExpect(dst []byte, r *http.Request) []byte {
	if hop.ExpectsContinue(r) {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	return dst
}

// prepare builds what is sent first: the head and, if it is small, the body.
func (x *exchange) prepare(call *link.Call, protocol string) error {
	x.framing = hop.FramingOf(x.r)
	if protocol != "" && x.framing != hop.NoBody {
		return fmt.Errorf("%w: a request to switch protocols must not have one", link.ErrRequestBody)
	}
	head, err := x.appendHead(x.out[:0], call, protocol)
	if err != nil {
		return err
	}
	x.out = head
	if x.framing == hop.Inline {
		x.out, err = x.watch.AppendBody(x.out, x.r)
	}
	return err
}
