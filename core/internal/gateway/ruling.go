package gateway

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Values of Ruling.Reason. The first three were answered with 401, the others with 403.
const (
	ReasonNoCredentials = "no_credentials"
	ReasonMalformed     = "malformed_credentials"
	ReasonInvalid       = "invalid_token"
	ReasonTokenLacks    = "token_lacks_permission" // whoever holds it
	ReasonUserLacks     = "user_lacks_permission"
	ReasonKind          = "kind_of_principal" // neither a user nor a token
)

// Ruling is what a route's guard made of one request, for those who watch.
type Ruling struct {
	// Principal is who sent it; anonymous if that is not known.
	Principal link.Principal
	// Module and Route say what was asked for; Module is "platform" for the platform's own routes.
	Module, Route string
	// Permission is what the route asks for; empty if it asks for valid credentials alone, or none.
	Permission string
	// Reason is why the request was turned away; empty if it was let in.
	Reason    string
	RequestID string
	TraceID   string
	// Address is the client's, as far as the proxies in between are trusted; "unknown" on a unix socket.
	Address string
}

// deniedError is the answer to who may not come in, and why.
type deniedError struct {
	reason string
	answer *problem.Problem
}

// Error implements error.
func (e *deniedError) Error() string { return e.answer.Error() }

// Unwrap is what the client is told.
func (e *deniedError) Unwrap() error { return e.answer }

// changes tells whether a request that is let in is worth telling: it may change something by a permission. What the platform
// itself changes it writes down itself.
func (rt *route) changes() bool { return rt.Permission != "" && rt.own == nil && !safe(rt.Method) }

// safe tells whether a method promises to change nothing (RFC 9110, section 9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// tell tells Deps.Ruled how a request was judged, unless it could not be.
func (rt *route) tell(r *http.Request, who link.Principal, err error) {
	var denied *deniedError
	var reason string
	switch {
	case rt.gateway.ruled == nil || err == nil && !rt.changes():
		return
	case err == nil:
	case errors.As(err, &denied):
		reason = denied.reason
	default:
		return
	}
	if who.Kind == "" {
		who = link.Anonymous()
	}
	rt.gateway.ruled(Ruling{
		Principal: who, Module: rt.module, Route: rt.ID, Permission: rt.Permission, Reason: reason,
		RequestID: r.Header.Get(headerRequestID), TraceID: traceID(r.Header), Address: rt.gateway.forwarding.client(r),
	})
}

// seldom is for complaints about what may go wrong with every request. The zero value is ready.
type seldom struct {
	mu   sync.Mutex
	last time.Time
}

// complaintPause is the least time between two complaints of one kind.
const complaintPause = time.Second

// now tells whether it is time for the next one.
func (s *seldom) now() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < complaintPause {
		return false
	}
	s.last = now
	return true
}
