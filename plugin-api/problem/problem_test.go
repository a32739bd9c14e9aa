package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/problem"
)

func TestEveryCodeHasItsHTTPStatus(t *testing.T) {
	t.Parallel()
	want := map[codes.Code]int{
		codes.Canceled: 499, codes.InvalidArgument: 400, codes.DeadlineExceeded: 504, codes.NotFound: 404,
		codes.AlreadyExists: 409, codes.PermissionDenied: 403, codes.ResourceExhausted: 429, codes.FailedPrecondition: 412,
		codes.Aborted: 409, codes.OutOfRange: 400, codes.Unimplemented: 501, codes.Unavailable: 503, codes.Unauthenticated: 401,
	}
	for code, httpStatus := range want {
		p, public := problem.FromError(fmt.Errorf("list posts: %w", status.Error(code, "for the client")))
		require.True(t, public, code)
		require.Equal(t, httpStatus, p.Status, code)
		require.Equal(t, "for the client", p.Detail)
		require.NotEmpty(t, p.Title)
	}
}

func TestWhatIsNoStatusStaysInside(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		errors.New("password is hunter2"),
		status.Error(codes.Internal, "password is hunter2"),
		status.Error(codes.Unknown, "password is hunter2"),
		status.Error(codes.DataLoss, "password is hunter2"),
	} {
		p, public := problem.FromError(err)
		require.False(t, public)
		require.Equal(t, http.StatusInternalServerError, p.Status)
		require.Equal(t, "internal error", p.Detail)
	}
}

func TestAProblemIsSentAsItIs(t *testing.T) {
	t.Parallel()
	own := problem.New(http.StatusTeapot, "short_and_stout", "tip me over")
	p, public := problem.FromError(fmt.Errorf("brew: %w", own))
	require.True(t, public)
	require.Same(t, own, p)
}

func TestWrite(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("X-Request-Id", "r1")
	w.Header().Set("Content-Length", "7")
	w.Header().Set("Cache-Control", "max-age=3600")
	p := problem.New(http.StatusServiceUnavailable, "unavailable", "later")
	p.RetryAfter = 1500 * time.Millisecond
	p.Write(w)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, problem.ContentType, w.Header().Get("Content-Type"))
	require.Equal(t, "2", w.Header().Get("Retry-After"), "rounded up: a client that comes early is refused again")
	require.Empty(t, w.Header().Get("Content-Length"))
	require.Empty(t, w.Header().Get("Cache-Control"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	require.Equal(t, map[string]any{
		"code": "unavailable", "title": "Service Unavailable", "status": 503.0, "detail": "later", "request_id": "r1",
	}, body)
	require.Empty(t, p.RequestID, "Write changes the response, not the problem")
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	want := problem.New(http.StatusBadRequest, "invalid_argument", `"x" is over 3 bytes (fix: shorten it)`)
	require.Equal(t, want, problem.Invalid("%q is over %d bytes (fix: shorten it)", "x", 3))
}
