package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// appendRequest appends the head of a request: what the core decided, then what the client said. The body follows.
//
//	timeout (ms, 0: none), route, n × (param, value), principal's kind, id, name, ticket,
//	method, target, host, length of the body, n × (header, value)
func appendRequest(dst []byte, r *http.Request, call *link.Call, length int) ([]byte, error) {
	if err := checkCall(r, call); err != nil {
		return nil, err
	}
	dst = binary.AppendUvarint(dst, milliseconds(call.Timeout))
	dst = appendText(dst, call.Route)
	dst = binary.AppendUvarint(dst, uint64(len(call.Params)))
	for _, param := range call.Params {
		dst = appendText(appendText(dst, param.Name), param.Value)
	}
	dst = appendText(appendText(appendText(dst, call.Principal.Kind), call.Principal.ID), call.Principal.Name)
	dst = appendText(dst, call.Ticket)
	dst = appendText(dst, r.Method)
	dst = appendTarget(dst, call.Path, r.URL.RawQuery)
	dst = appendText(dst, r.Host)
	dst = binary.AppendUvarint(dst, uint64(length))
	return appendHeaders(dst, r.Header)
}

// checkCall refuses what a module could not be told truthfully; http1 refuses the same.
func checkCall(r *http.Request, call *link.Call) error {
	switch {
	case !hop.VisibleASCII(call.Route):
		return fmt.Errorf("route id %q cannot be sent: it must be visible ASCII", call.Route)
	case call.Principal.Kind == "":
		return errors.New("the call has no principal: use link.Anonymous for an unauthenticated caller")
	case call.Ticket != "" && !hop.VisibleASCII(call.Ticket):
		return errors.New("the ticket cannot be sent: it must be visible ASCII")
	case !strings.HasPrefix(call.Path, "/"):
		return fmt.Errorf("path %q cannot be sent: it must begin with /", call.Path)
	case !httpguts.ValidHeaderFieldName(r.Method) || !httpguts.ValidHostHeader(r.Host):
		return fmt.Errorf("method %q or host %q cannot be sent", r.Method, r.Host)
	}
	return nil
}

// milliseconds rounds up: what is left of a timeout must not become none.
func milliseconds(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Millisecond) + 1
}

// appendTarget appends path and query as one request target.
func appendTarget(dst []byte, path, query string) []byte {
	if query == "" && hop.PathIsSafe(path) {
		return appendText(dst, path)
	}
	target := hop.AppendPath(make([]byte, 0, len(path)+len(query)+1), path)
	if query != "" {
		target = hop.AppendQuery(append(target, '?'), query)
	}
	dst = binary.AppendUvarint(dst, uint64(len(target)))
	return append(dst, target...)
}

// appendHeaders appends the client's headers that travel on, each with its values.
func appendHeaders(dst []byte, header http.Header) ([]byte, error) {
	nominated := hop.ConnectionOptions(header["Connection"])
	n := 0
	at := len(dst)
	dst = append(dst, 0, 0)
	add := func(name, value string) {
		dst = appendText(appendText(dst, name), value)
		n++
	}
	for name, values := range header {
		if !hop.ForwardedToModule(name, nominated) {
			continue
		}
		if !hop.ValidField(name, values) {
			return nil, fmt.Errorf("header %q cannot be sent: it holds a control byte", name)
		}
		for _, value := range values {
			add(name, value)
		}
	}
	if slices.ContainsFunc(header["Te"], hop.TakesTrailers) {
		add("Te", "trailers")
	}
	if n > math.MaxUint16 {
		return nil, fmt.Errorf("%d headers are too many for the link", n)
	}
	binary.BigEndian.PutUint16(dst[at:], uint16(n))
	return dst, nil
}

// parsedRequest is a request as the module reads it.
type parsedRequest struct {
	call   link.Call
	method string
	target string
	host   string
	header http.Header
	body   []byte // valid as long as the payload
}

// parseRequest reads what appendRequest wrote, and the body that follows. The strings share one piece of memory.
func parseRequest(payload []byte) (p parsedRequest, err error) {
	t := text{rest: string(payload)}
	timeout := t.number()
	p.call.Route = t.string()
	if n := t.count(2); n > 0 {
		p.call.Params = make([]link.Param, n)
		for i := range p.call.Params {
			p.call.Params[i] = link.Param{Name: t.string(), Value: t.string()}
		}
	}
	p.call.Principal = link.Principal{Kind: t.string(), ID: t.string(), Name: t.string()}
	p.call.Ticket = t.string()
	p.method, p.target, p.host = t.string(), t.string(), t.string()
	length := t.number()
	p.header = t.headers()
	switch {
	case t.err != nil:
		return p, t.err
	case uint64(len(t.rest)) != length:
		return p, fmt.Errorf("%w: a body of %d bytes, %d were announced", errFrame, len(t.rest), length)
	case p.call.Route == "" || p.call.Principal.Kind == "" || timeout > maxTimeout:
		return p, fmt.Errorf("%w: a request without a route or a principal", errFrame)
	}
	p.call.Timeout = time.Duration(timeout) * time.Millisecond
	p.body = payload[len(payload)-len(t.rest):]
	return p, nil
}

// maxTimeout is the longest timeout, in milliseconds, that a time.Duration holds.
const maxTimeout = uint64((1<<63 - 1) / int64(time.Millisecond))

// headers reads what appendHeaders wrote.
func (t *text) headers() http.Header {
	if len(t.rest) < 2 {
		t.fail()
		return nil
	}
	n := int(t.rest[0])<<8 | int(t.rest[1])
	t.rest = t.rest[2:]
	if n > len(t.rest)/2 {
		t.fail()
		return nil
	}
	header := make(http.Header, n)
	values := make([]string, n)
	for i := range values {
		name := textproto.CanonicalMIMEHeaderKey(t.string())
		values[i] = t.string()
		if earlier, again := header[name]; again {
			header[name] = append(earlier, values[i])
		} else {
			header[name] = values[i : i+1 : i+1]
		}
	}
	return header
}

// url makes the request's URL, as net/http's server would.
func (p *parsedRequest) url() (url.URL, error) {
	path, query, _ := strings.Cut(p.target, "?")
	if !strings.ContainsAny(path, "%!'()*") { // those, a URL keeps as they came
		return url.URL{Path: path, RawQuery: query}, nil
	}
	u, err := url.ParseRequestURI(p.target)
	if err != nil {
		return url.URL{}, fmt.Errorf("%w: %w", errFrame, err)
	}
	return *u, nil
}
