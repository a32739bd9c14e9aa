package gateway

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/platformd/platformd/plugin-api/event"
)

const (
	headerRequestID   = "X-Request-Id"
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"

	maxRequestID = 64
)

// identify gives a request its id and its place in a trace: the client's, if they can be one, else new ones. The id goes
// into the answer too.
func identify(answer, request http.Header) {
	id := request[headerRequestID]
	if len(id) != 1 || !validRequestID(id[0]) {
		id = []string{newRequestID()}
		request[headerRequestID] = id
	}
	answer[headerRequestID] = id
	if trace := request[headerTraceparent]; len(trace) != 1 || !validTraceparent(trace[0]) {
		request[headerTraceparent] = []string{event.NewTraceParent()}
		delete(request, headerTracestate)
	}
}

// newRequestID begins with the time (RFC 9562, version 7): the audit log's index of requests then grows at its end, where ids at
// random would touch a page of it for each row.
func newRequestID() string { return uuid.Must(uuid.NewV7()).String() } // crypto/rand does not fail

// validRequestID keeps what could forge a line of a log out of it.
func validRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch b := id[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return true
}

// validTraceparent judges as W3C Trace Context, level 1, section 3.2 says. A later version may be longer.
func validTraceparent(s string) bool {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(s) < length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	version := s[:2]
	if version == "00" && len(s) != length || len(s) > length && s[length] != '-' {
		return false
	}
	return lowerHex(version) && version != "ff" && lowerHex(s[3:35]) && nonZero(s[3:35]) &&
		lowerHex(s[36:52]) && nonZero(s[36:52]) && lowerHex(s[53:55])
}

// traceID is the trace of a request that has been identified.
func traceID(request http.Header) string {
	return request.Get(headerTraceparent)[3:35]
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if b := s[i]; (b < '0' || '9' < b) && (b < 'a' || 'f' < b) {
			return false
		}
	}
	return true
}

func nonZero(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return true
		}
	}
	return false
}
