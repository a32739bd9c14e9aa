package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	for id, kept := range map[string]bool{
		"abc": true, "A.b_c-9": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\"b": false, "a/b": false, "caf\u00e9": false, "a,b": false,
	} {
		answer, request := http.Header{}, http.Header{headerRequestID: {id}}
		identify(answer, request)
		require.Equal(t, request[headerRequestID], answer[headerRequestID])
		require.Equal(t, kept, answer.Get(headerRequestID) == id, id)
		if !kept {
			require.NoError(t, uuid.Validate(answer.Get(headerRequestID)))
		}
	}
	answer, request := http.Header{}, http.Header{headerRequestID: {"a", "b"}}
	identify(answer, request)
	require.Len(t, request[headerRequestID], 1)
	require.NoError(t, uuid.Validate(request.Get(headerRequestID)))
}

func TestTraceparent(t *testing.T) {
	t.Parallel()
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for value, kept := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                    true,
		"00-" + trace + "-" + span + "-ff":                    true,
		"cc-" + trace + "-" + span + "-01":                    true,
		"cc-" + trace + "-" + span + "-01-what-comes-later":   true,
		"cc-" + trace + "-" + span + "-01.what":               false,
		"00-" + trace + "-" + span + "-01-more":               false,
		"ff-" + trace + "-" + span + "-01":                    false,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":  false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01": false,
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":   false,
		"00-" + trace + "-" + span + "-0g":                    false,
		"00-" + trace + "-" + span + "-1":                     false,
		"0x-" + trace + "-" + span + "-01":                    false,
		"00_" + trace + "-" + span + "-01":                    false,
		"":                                                    false,
	} {
		request := http.Header{headerTraceparent: {value}, headerTracestate: {"a=1"}}
		identify(http.Header{}, request)
		got := request.Get(headerTraceparent)
		require.True(t, validTraceparent(got), got)
		require.Equal(t, kept, got == value, value)
		require.Equal(t, kept, request.Get(headerTracestate) == "a=1", "the state belongs to the parent")
	}
	request := http.Header{headerTraceparent: {"00-" + trace + "-" + span + "-01", "00-" + trace + "-" + span + "-01"}}
	identify(http.Header{}, request)
	require.Len(t, request[headerTraceparent], 1)
}

// TestEveryAnswerNamesItsRequest, refusals and probes too, and the module knows the same name.
func TestEveryAnswerNamesItsRequest(t *testing.T) {
	t.Parallel()
	f, _ := withEcho(t, nil)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, path := range []string{
		"/livez", "/readyz", "/metrics", "/nosuch", "/api/v1/echo/secret", "/api/v1/echo/public/x", "/api/v1/echo/public/%2f",
		"/api/v1/echo/slow", "/api/v1/nosuch",
	} {
		require.Equal(t, "mine", f.get(path, "X-Request-Id: mine").header.Get("X-Request-Id"), path)
		require.Len(t, f.get(path, "X-Request-Id: not mine").header.Get("X-Request-Id"), 36, path)
	}
	got := f.see("/api/v1/echo/public/x", "X-Request-Id: mine", "Traceparent: "+parent, "Tracestate: a=1")
	require.Equal(t, "mine", got.Header.Get("X-Request-Id"))
	require.Equal(t, parent, got.Header.Get("Traceparent"))
	require.Equal(t, "a=1", got.Header.Get("Tracestate"))
}
