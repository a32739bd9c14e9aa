package pluginapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/plugin-api/link"
	"github.com/platformd/platformd/plugin-api/problem"
)

// serveOnce sends one request for the route through a dispatcher, and returns the answer and what was logged.
func serveOnce(d *dispatcher, route string) (*httptest.ResponseRecorder, string) {
	var log strings.Builder
	d.log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/posts", nil)
	r.Header.Set("X-Request-Id", "r1")
	call := &link.Call{Route: route, Principal: link.Principal{Kind: link.KindToken, ID: "t1"}}
	d.ServeHTTP(w, r.WithContext(link.With(r.Context(), call)))
	return w, log.String()
}

func TestAHandlersErrorIsItsVerdict(t *testing.T) {
	t.Parallel()
	secret := errors.New("the password is hunter2")
	cases := map[string]struct {
		err    error
		status int
		code   string
		logged bool
	}{
		"status":  {status.Error(codes.NotFound, "there is no such post"), http.StatusNotFound, "not_found", false},
		"wrapped": {fmt.Errorf("find: %w", status.Error(codes.Aborted, "again")), http.StatusConflict, "aborted", false},
		"problem": {problem.New(http.StatusTeapot, "teapot", "short and stout"), http.StatusTeapot, "teapot", false},
		"other":   {secret, http.StatusInternalServerError, "internal", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, log := serveOnce(&dispatcher{routes: map[string]Handler{
				"get": func(http.ResponseWriter, *http.Request) error { return c.err },
			}}, "get")
			require.Equal(t, c.status, w.Code)
			var seen problem.Problem
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &seen))
			require.Equal(t, c.code, seen.Code)
			require.Equal(t, "r1", seen.RequestID)
			require.NotContains(t, w.Body.String(), "hunter2")
			require.Equal(t, c.logged, strings.Contains(log, "hunter2"), log)
		})
	}
}

func TestAPanicIsAnInternalErrorWithItsStackInTheLog(t *testing.T) {
	t.Parallel()
	w, log := serveOnce(&dispatcher{routes: map[string]Handler{
		"get": func(http.ResponseWriter, *http.Request) error { panic("hunter2") },
	}}, "get")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "hunter2")
	require.Contains(t, log, "panic: hunter2")
	require.Contains(t, log, "dispatch_test.go")
}

func TestAnErrorAfterTheAnswerBeganCutsIt(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(http.ResponseWriter){
		"write":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("part")) },
		"head":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"flush":    func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"readFrom": func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("part")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &dispatcher{routes: map[string]Handler{"get": func(w http.ResponseWriter, _ *http.Request) error {
				begin(w)
				return errors.New("the disk broke")
			}}}
			require.PanicsWithValue(t, http.ErrAbortHandler, func() { serveOnce(d, "get") })
		})
	}
}

func TestMountServesWhatRoutesDoNot(t *testing.T) {
	t.Parallel()
	d := &dispatcher{
		routes: map[string]Handler{"get": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := w.Write([]byte("route"))
			return err
		}},
		mount: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("mount for " + PrincipalFrom(r.Context()).ID))
		}),
	}
	w, _ := serveOnce(d, "get")
	require.Equal(t, "route", w.Body.String())
	w, _ = serveOnce(d, "other")
	require.Equal(t, "mount for t1", w.Body.String())
	w, _ = serveOnce(&dispatcher{}, "other")
	require.Equal(t, http.StatusNotFound, w.Code)
}

func TestPrincipalOutsideOfARequestIsAnonymous(t *testing.T) {
	t.Parallel()
	require.Equal(t, link.Anonymous(), PrincipalFrom(t.Context()))
}

// TestNobodyIsLeftToAnswer: a driver that says in words of its own that it was interrupted is no failure of the module.
func TestNobodyIsLeftToAnswer(t *testing.T) {
	t.Parallel()
	rollback := errors.New("transaction has already been rolled back")
	gone, leave := context.WithCancel(t.Context())
	leave()
	late, end := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer end()
	missing := status.Error(codes.NotFound, "there is no such post")
	for name, test := range map[string]struct {
		ctx    context.Context
		err    error
		status int
		public bool
	}{
		"gone, and the driver says so":  {gone, fmt.Errorf("save: %w", context.Canceled), 499, true},
		"gone, in the driver's words":   {gone, rollback, 499, true},
		"late, in the driver's words":   {late, rollback, http.StatusGatewayTimeout, true},
		"gone, but the answer is known": {gone, missing, http.StatusNotFound, true},
		"there, and a failure":          {t.Context(), rollback, http.StatusInternalServerError, false},
		"there, and somebody gave up":   {t.Context(), context.Canceled, http.StatusInternalServerError, false},
	} {
		answer, public := verdict(test.ctx, test.err)
		require.Equal(t, test.status, answer.Status, name)
		require.Equal(t, test.public, public, name)
	}
}
