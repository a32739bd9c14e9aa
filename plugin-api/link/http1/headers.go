package http1

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/link/internal/hop"
)

// The headers by which the core tells a module what it decided. Params and Principal are JSON in base64url without
// padding, Timeout is in milliseconds; Params, Ticket and Timeout may be absent.
const (
	headerSecret    = "Platformd-Secret"
	headerRoute     = "Platformd-Route"
	headerParams    = "Platformd-Params"
	headerPrincipal = "Platformd-Principal"
	headerTicket    = "Platformd-Ticket"
	headerTimeout   = "Platformd-Timeout"
	// maxTimeout is the longest timeout, in milliseconds, that a time.Duration holds.
	maxTimeout = math.MaxInt64 / int64(time.Millisecond)
)

// callEncoder appends calls to request heads; it keeps its buffer. The zero value is ready.
type callEncoder struct {
	text bytes.Buffer
	json *json.Encoder
}

// append appends the header lines of call to dst.
func (e *callEncoder) append(dst []byte, call *link.Call) ([]byte, error) {
	if !hop.VisibleASCII(call.Route) {
		return nil, fmt.Errorf("route id %q cannot be sent: it must be visible ASCII", call.Route)
	}
	if call.Principal.Kind == "" {
		return nil, errors.New("the call has no principal: use link.Anonymous for an unauthenticated caller")
	}
	dst = appendLine(dst, headerRoute, call.Route)
	var err error
	if len(call.Params) > 0 {
		if dst, err = e.appendJSON(dst, headerParams, &call.Params); err != nil {
			return nil, err
		}
	}
	if dst, err = e.appendJSON(dst, headerPrincipal, &call.Principal); err != nil {
		return nil, err
	}
	if call.Ticket != "" {
		if !hop.VisibleASCII(call.Ticket) {
			return nil, errors.New("the ticket cannot be sent: it must be visible ASCII")
		}
		dst = appendLine(dst, headerTicket, call.Ticket)
	}
	if call.Timeout > 0 {
		dst = append(dst, headerTimeout+": "...)
		dst = strconv.AppendInt(dst, milliseconds(call.Timeout), 10)
		dst = append(dst, '\r', '\n')
	}
	return dst, nil
}

func (e *callEncoder) appendJSON(dst []byte, name string, value any) ([]byte, error) {
	if e.json == nil {
		e.json = json.NewEncoder(&e.text)
	}
	e.text.Reset()
	if err := e.json.Encode(value); err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	dst = append(append(dst, name...), ": "...)
	dst = base64.RawURLEncoding.AppendEncode(dst, bytes.TrimSuffix(e.text.Bytes(), []byte("\n")))
	return append(dst, '\r', '\n'), nil
}

// milliseconds rounds up: what is left of a timeout must not become none.
func milliseconds(d time.Duration) int64 {
	whole := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 && whole < maxTimeout {
		whole++
	}
	return whole
}

func appendLine(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), '\r', '\n')
}

// decodeCall reads the core's headers. It does not check the secret, and leaves Path to the caller. Unknown JSON fields
// are ignored: a newer core may say more than this module knows.
func decodeCall(header http.Header) (*link.Call, error) {
	route, err := single(header, headerRoute)
	if err != nil {
		return nil, err
	}
	if !hop.VisibleASCII(route) {
		return nil, errors.New(headerRoute + " is not visible ASCII")
	}
	call := &link.Call{Route: route}
	if len(header[headerParams]) > 0 {
		if err := decodeJSON(header, headerParams, &call.Params); err != nil {
			return nil, err
		}
	}
	if err := decodeJSON(header, headerPrincipal, &call.Principal); err != nil {
		return nil, err
	}
	if call.Principal.Kind == "" {
		return nil, errors.New(headerPrincipal + " names no kind")
	}
	if len(header[headerTicket]) > 0 {
		if call.Ticket, err = single(header, headerTicket); err != nil {
			return nil, err
		}
	}
	call.Timeout, err = decodeTimeout(header)
	return call, err
}

func decodeJSON(header http.Header, name string, into any) error {
	encoded, err := single(header, name)
	if err != nil {
		return err
	}
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	return nil
}

func decodeTimeout(header http.Header) (time.Duration, error) {
	if len(header[headerTimeout]) == 0 {
		return 0, nil
	}
	text, err := single(header, headerTimeout)
	if err != nil {
		return 0, err
	}
	left, err := strconv.ParseInt(text, 10, 64)
	if err != nil || left <= 0 || left > maxTimeout {
		return 0, errors.New(headerTimeout + " is not a positive number of milliseconds")
	}
	return time.Duration(left) * time.Millisecond, nil
}

// single returns the value of a header that must be there once.
func single(header http.Header, name string) (string, error) {
	values := header[name]
	if len(values) != 1 {
		return "", fmt.Errorf("%s is there %d times instead of once", name, len(values))
	}
	return values[0], nil
}

// secretMatches compares the secret that came with a request, in constant time. An empty secret matches nothing.
func secretMatches(header http.Header, want []byte) bool {
	got, err := single(header, headerSecret)
	return err == nil && len(want) > 0 && subtle.ConstantTimeCompare([]byte(got), want) == 1
}

// stripReserved removes the core's headers, so that a handler neither sees the secret nor passes it on.
func stripReserved(header http.Header) {
	for name := range header {
		if hop.Reserved(name) {
			delete(header, name)
		}
	}
}
