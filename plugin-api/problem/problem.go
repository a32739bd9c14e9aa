// Package problem writes errors as RFC 9457 problem details, and holds the one table from gRPC status codes to HTTP. The
// core's gateway and the SDK both use it, so that a client cannot tell which of them refused.
//
// It must not decide anything: who calls it has already said what went wrong.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ContentType is the media type of a problem (RFC 9457, section 3).
const ContentType = "application/problem+json"

// Problem is one error as a client sees it. It is itself an error.
type Problem struct {
	// Code is a stable, machine-readable name, such as "permission_denied". Clients may switch on it.
	Code string `json:"code"`
	// Title is the HTTP status in words.
	Title string `json:"title"`
	// Status is the HTTP status code.
	Status int `json:"status"`
	// Detail says what happened and, where a person can act on it, what to do next.
	Detail string `json:"detail,omitempty"`
	// RequestID names the request in the core's log.
	RequestID string `json:"request_id,omitempty"`
	// RetryAfter, if positive, becomes the Retry-After header, in whole seconds, rounded up.
	RetryAfter time.Duration `json:"-"`
}

// New returns a problem with the status's own title.
func New(statusCode int, code, detail string) *Problem {
	title := http.StatusText(statusCode)
	if title == "" { // 499 has no registered name
		title = code
	}
	return &Problem{Code: code, Title: title, Status: statusCode, Detail: detail}
}

// Invalid returns the problem of a request that asks for what makes no sense: 400, invalid_argument. The detail is made as by
// fmt.Sprintf.
func Invalid(format string, args ...any) *Problem {
	return New(http.StatusBadRequest, "invalid_argument", fmt.Sprintf(format, args...))
}

// Error implements error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Write sends the problem. The request id is taken from the response's X-Request-Id header, if there is one.
func (p *Problem) Write(w http.ResponseWriter) {
	out := *p
	header := w.Header()
	if out.RequestID == "" {
		out.RequestID = header.Get("X-Request-Id")
	}
	for _, stale := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control", "Trailer"} {
		header.Del(stale)
	}
	header.Set("Content-Type", ContentType)
	header.Set("X-Content-Type-Options", "nosniff")
	if out.RetryAfter > 0 {
		seconds := int64((out.RetryAfter + time.Second - 1) / time.Second)
		header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	w.WriteHeader(out.Status)
	_ = json.NewEncoder(w).Encode(&out) // the client may be gone; there is nobody left to tell
}

// row is one line of the table from gRPC's codes to HTTP.
type row struct {
	status int
	code   string
}

var table = map[codes.Code]row{
	codes.Canceled:           {499, "canceled"},
	codes.InvalidArgument:    {http.StatusBadRequest, "invalid_argument"},
	codes.DeadlineExceeded:   {http.StatusGatewayTimeout, "deadline_exceeded"},
	codes.NotFound:           {http.StatusNotFound, "not_found"},
	codes.AlreadyExists:      {http.StatusConflict, "already_exists"},
	codes.PermissionDenied:   {http.StatusForbidden, "permission_denied"},
	codes.ResourceExhausted:  {http.StatusTooManyRequests, "resource_exhausted"},
	codes.FailedPrecondition: {http.StatusPreconditionFailed, "failed_precondition"},
	codes.Aborted:            {http.StatusConflict, "aborted"},
	codes.OutOfRange:         {http.StatusBadRequest, "out_of_range"},
	codes.Unimplemented:      {http.StatusNotImplemented, "unimplemented"},
	codes.Unavailable:        {http.StatusServiceUnavailable, "unavailable"},
	codes.Unauthenticated:    {http.StatusUnauthorized, "unauthenticated"},
}

// FromError turns an error into what a client may see. ok is false for an error that carries neither a Problem nor a gRPC
// status with a public meaning: the problem then says only "internal error", and the caller must log err whole.
func FromError(err error) (p *Problem, ok bool) {
	if errors.As(err, &p) {
		return p, true
	}
	// Not status.FromError: of a wrapped status it shows the client the wrapping too.
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) {
		if r, known := table[carrier.GRPCStatus().Code()]; known {
			return New(r.status, r.code, carrier.GRPCStatus().Message()), true
		}
	}
	return New(http.StatusInternalServerError, "internal", "internal error"), false
}
