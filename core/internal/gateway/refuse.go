package gateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/platformd/platformd/plugin-api/problem"
)

// The codes of the gateway's own problems, one per status where gRPC's table has one, and one for what clients may answer with
// patience alone. Clients may rely on them.
const (
	codeInvalid          = "invalid_argument"   // 400
	codeUnauthenticated  = "unauthenticated"    // 401
	codePermissionDenied = "permission_denied"  // 403
	codeNotFound         = "not_found"          // 404
	codeMethodNotAllowed = "method_not_allowed" // 405
	codeRequestTimeout   = "request_timeout"    // 408
	codeTooLarge         = "too_large"          // 413
	codeInternal         = "internal"           // 500
	codeBadGateway       = "bad_gateway"        // 502
	codeUnavailable      = "unavailable"        // 503
	codeOverloaded       = "overloaded"         // 503, and the module works
	codeDeadlineExceeded = "deadline_exceeded"  // 504
)

// statusClientGone is what metrics and logs say where nobody was left to answer.
const statusClientGone = 499

// errClientGone says that there is nobody to answer.
var errClientGone = errors.New("the client went away")

// refuse answers with err: a *problem.Problem as it is, errClientGone by cutting the connection, anything else as an
// internal error.
func (g *Gateway) refuse(a *answer, r *http.Request, err error) {
	if errors.Is(err, errClientGone) {
		a.begin(statusClientGone)
		panic(http.ErrAbortHandler)
	}
	p, public := problem.FromError(err)
	if !public {
		g.log.Error("request failed", "request_id", a.Header().Get(headerRequestID), "path", r.URL.Path, "error", err)
	}
	if p.Status == http.StatusUnauthorized {
		a.Header().Set("WWW-Authenticate", challenge(r))
	}
	if p.Status == http.StatusRequestEntityTooLarge && r.ProtoMajor == 1 {
		a.Header().Set("Connection", "close") // else net/http would await some of the body before it sends the answer
	}
	// The client must take it soon, once it has sent what net/http awaits of its body, for which it has as long. Where there
	// are no deadlines, as in a test's recorder, nobody waits either.
	_ = http.NewResponseController(a).SetWriteDeadline(time.Now().Add(2 * g.timeouts.client))
	p.Write(a)
}

// challenge says how to authenticate, and whether what was tried is no good (RFC 6750, section 3).
func challenge(r *http.Request) string {
	if len(r.Header["Authorization"]) == 0 {
		return `Bearer realm="platformd"`
	}
	return `Bearer realm="platformd", error="invalid_token"`
}

func badPath(err error) error {
	return problem.New(http.StatusBadRequest, codeInvalid, err.Error())
}

func internalError() error {
	return problem.New(http.StatusInternalServerError, codeInternal, "internal error")
}

func notFound() error {
	return problem.New(http.StatusNotFound, codeNotFound,
		"nothing is here; modules are below /api/v1/NAME, and /readyz?verbose lists them")
}

func bodyLate() error {
	return problem.New(http.StatusRequestTimeout, codeRequestTimeout, "the body did not arrive in time")
}

func bodyBroken() error {
	return problem.New(http.StatusBadRequest, codeInvalid, "the body is malformed or incomplete")
}

func tookTooLong() error {
	return problem.New(http.StatusGatewayTimeout, codeDeadlineExceeded, "the request took longer than its route allows")
}

func unavailable(detail string, retryAfter time.Duration) *problem.Problem {
	p := problem.New(http.StatusServiceUnavailable, codeUnavailable, detail)
	p.RetryAfter = retryAfter
	return p
}
