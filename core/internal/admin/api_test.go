package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/jsonbody"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/plugin-api/problem"
)

// deadline bounds everything that a test waits for.
const deadline = 10 * time.Second

// raw sends a request as it stands, past the client's own care.
func (s *server) raw(t *testing.T, method, path, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://platformd"+path, strings.NewReader(body))
	require.NoError(t, err)
	resp, err := s.http.Do(req)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(text)
}

// requireProblem returns what the problem says.
func requireProblem(t *testing.T, err error, status int, code string) (detail string) {
	t.Helper()
	var p *problem.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, status, p.Status, p.Detail)
	require.Equal(t, code, p.Code)
	return p.Detail
}

func TestInfo(t *testing.T) {
	t.Parallel()
	info, err := start(t).Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.2.3", info.Version)
	require.Equal(t, 4711, info.PID)
	require.True(t, info.StartedAt.Equal(time.Unix(1e9, 0)))
	require.True(t, info.Ready)
}

func TestModules(t *testing.T) {
	t.Parallel()
	s := start(t)
	modules, err := s.Modules(t.Context())
	require.NoError(t, err)
	require.Len(t, modules, 2)
	require.Equal(t, 42, modules[0].Instances[0].PID)
	blog, err := s.Module(t.Context(), "blog")
	require.NoError(t, err)
	require.Equal(t, modules[1], blog)
	require.Equal(t, "it broke", blog.Reason)
}

// A client must not have to tell null from an empty list.
func TestModuleHasNoNull(t *testing.T) {
	t.Parallel()
	_, body := start(t).raw(t, http.MethodGet, "/v1/modules/blog", "")
	require.Contains(t, body, `"instances":[]`)
	require.NotContains(t, body, "null")
}

func TestUnknownModule(t *testing.T) {
	t.Parallel()
	s := start(t)
	_, err := s.Module(t.Context(), "blgo")
	detail := requireProblem(t, err, http.StatusNotFound, "not_found")
	require.Contains(t, detail, `there is no module "blgo"; did you mean blog?`)
	require.Contains(t, detail, "\nfix: ")
	for _, name := range []string{"a/b", "..", "%2e%2e", "a b", "\x00", "ü", ""} {
		_, err := s.Module(t.Context(), name)
		requireProblem(t, err, http.StatusNotFound, "not_found")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	s := start(t)
	tokens, err := s.Tokens(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, tokens)

	created, err := s.CreateToken(t.Context(), NewToken{Name: "ci", Permissions: []string{"blog.*", "blog.post.read"}, TTL: "2d"})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(created.Secret, "pfd_"), created.Secret)
	require.Equal(t, "ci", created.Name)
	require.Equal(t, []string{"blog.*", "blog.post.read"}, created.Permissions)
	require.WithinDuration(t, time.Now().Add(48*time.Hour), created.ExpiresAt, time.Minute)
	identity, err := s.tokens.Authenticate(t.Context(), created.Secret)
	require.NoError(t, err)
	require.Equal(t, created.Permissions, identity.Permissions)

	tokens, err = s.Tokens(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, tokens, 1)
	require.Equal(t, created.ID, tokens[0].ID)
	_, listed := s.raw(t, http.MethodGet, "/v1/tokens", "")
	require.NotContains(t, listed, created.Secret)

	require.NoError(t, s.RevokeToken(t.Context(), created.ID))
	_, err = s.tokens.Authenticate(t.Context(), created.Secret)
	require.Error(t, err)
	requireProblem(t, s.RevokeToken(t.Context(), "absent"), http.StatusNotFound, "not_found")
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		says               string
	}{
		"nothing there":        {"GET", "/v2/info", "", 404, "/v2/info"},
		"wrong method":         {"DELETE", "/v1/tokens", "", 405, "GET or POST"},
		"no body":              {"POST", "/v1/tokens", "", 400, "EOF"},
		"no JSON":              {"POST", "/v1/tokens", "name=x", 400, "invalid character"},
		"unknown key":          {"POST", "/v1/tokens", `{"ttl":"1d","permission":"blog.*"}`, 400, `unknown field "permission"`},
		"wrong type":           {"POST", "/v1/tokens", `{"name":"x","ttl":"1d","permissions":"blog.*"}`, 400, "permissions"},
		"two values":           {"POST", "/v1/tokens", `{"name":"x","ttl":"1d","permissions":[]}{}`, 400, "goes on after"},
		"a bracket too many":   {"POST", "/v1/tokens", `{"name":"x","ttl":"1d","permissions":[]}}`, 400, "goes on after"},
		"too large":            {"POST", "/v1/tokens", `{"name":"` + strings.Repeat("x", jsonbody.Max) + `"}`, 413, "65536 bytes"},
		"no time to live":      {"POST", "/v1/tokens", `{"name":"x","permissions":["blog.*"]}`, 400, "not a time to live"},
		"too long to live":     {"POST", "/v1/tokens", `{"name":"x","ttl":"3660d","permissions":["blog.*"]}`, 400, "10 years"},
		"unknown permission":   {"POST", "/v1/tokens", `{"ttl":"1d","permissions":["blog.post.raed"]}`, 400, "blog.post.read"},
		"malformed permission": {"POST", "/v1/tokens", `{"name":"x","ttl":"1d","permissions":["*.read"]}`, 400, "*.read"},
		"unknown parameter":    {"GET", "/v1/logs?modul=blog", "", 400, `"modul"`},
		"parameter twice":      {"GET", "/v1/logs?n=1&n=2", "", 400, `"n" is there twice`},
		"bad level":            {"GET", "/v1/logs?level=loud", "", 400, "use trace, debug"},
		"bad time":             {"GET", "/v1/logs?since=yesterday", "", 400, `"since"`},
		"bad number":           {"GET", "/v1/logs?n=-1", "", 400, `"n"`},
		"log of nobody":        {"GET", "/v1/logs?module=blgo", "", 404, "did you mean blog?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp, body := s.raw(t, c.method, c.path, c.body)
			require.Equal(t, c.status, resp.StatusCode, body)
			require.Equal(t, problem.ContentType, resp.Header.Get("Content-Type"))
			var p problem.Problem
			require.NoError(t, json.Unmarshal([]byte(body), &p))
			require.Contains(t, p.Detail, c.says)
		})
	}
}

// A failure that says something about the core's inside is told to the log, not to the client.
func TestInternalError(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.closeStorage(t)
	_, err := s.Tokens(t.Context(), "")
	require.NotContains(t, requireProblem(t, err, http.StatusInternalServerError, "internal"), "closed")
	records := s.log.Store.Tail(logs.Filter{})
	require.NotEmpty(t, records)
	require.Contains(t, records[len(records)-1].Fields["error"], "closed")
}

func TestStop(t *testing.T) {
	t.Parallel()
	s := start(t)
	for range 2 { // the second finds a daemon that is stopping already
		stopping, err := s.Stop(t.Context())
		require.NoError(t, err)
		require.Equal(t, Stopping{PID: 4711, WithinMillis: 1500}, stopping)
	}
	select {
	case <-s.stopped:
	case <-time.After(deadline):
		t.Fatal("nobody was told to stop")
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	s := start(t)
	blog := s.log.Logger.Named("module.blog")
	blog.Info("first", "id", 1)
	blog.Warn("second")
	s.log.Logger.Error("third")
	read := func(q LogQuery) (messages []string) {
		require.NoError(t, s.Logs(t.Context(), q, func(e logs.Entry) error {
			messages = append(messages, e.Module+" "+e.Message)
			return nil
		}))
		return messages
	}
	require.Equal(t, []string{"blog first", "blog second", "core third"}, read(LogQuery{}))
	require.Equal(t, []string{"blog second", "core third"}, read(LogQuery{Level: "warn"}))
	require.Equal(t, []string{"blog first", "blog second"}, read(LogQuery{Module: "blog"}))
	require.Equal(t, []string{"core third"}, read(LogQuery{Module: "core"}))
	require.Equal(t, []string{"core third"}, read(LogQuery{Lines: 1}))
	require.Empty(t, read(LogQuery{Since: time.Now().Add(time.Hour)}))
	require.Len(t, read(LogQuery{Since: time.Now().Add(-time.Hour)}), 3)
	failed := errors.New("disk full")
	require.ErrorIs(t, s.Logs(t.Context(), LogQuery{}, func(logs.Entry) error { return failed }), failed)
}

// follow begins to follow the log; what it receives arrives on the first channel, how it ended on the second.
func (s *server) follow(ctx context.Context) (<-chan logs.Entry, <-chan error) {
	entries, ended := make(chan logs.Entry, 100), make(chan error, 1)
	go func() {
		ended <- s.Logs(ctx, LogQuery{Follow: true, Module: "blog"}, func(e logs.Entry) error { entries <- e; return nil })
	}()
	return entries, ended
}

func receive[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(deadline):
		t.Fatal("nothing arrived")
	}
	return value
}

func TestFollow(t *testing.T) {
	t.Parallel()
	s := start(t)
	blog := s.log.Logger.Named("module.blog")
	blog.Info("before")
	ctx, cancel := context.WithCancel(t.Context())
	entries, ended := s.follow(ctx)
	require.Equal(t, "before", receive(t, entries).Message)
	blog.Info("after")
	s.log.Logger.Info("somebody else's")
	blog.Info("last")
	require.Equal(t, "after", receive(t, entries).Message)
	require.Equal(t, "last", receive(t, entries).Message)
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
}

// Those who follow must not keep the daemon from stopping, and are told properly that it is over.
func TestFollowEndsWithTheDaemon(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.log.Logger.Named("module.blog").Info("before")
	entries, ended := s.follow(t.Context())
	receive(t, entries)
	begin := time.Now()
	require.NoError(t, s.end())
	require.NoError(t, receive(t, ended))
	require.Less(t, time.Since(begin), closeTimeout)
}

// The server's limits on a whole exchange are not for one that may last for days.
func TestFollowOutlivesTheTimeouts(t *testing.T) {
	t.Parallel()
	s := start(t)
	const limit = 50 * time.Millisecond
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := Listen(socket, s.log.Logger)
	require.NoError(t, err)
	limited := &http.Server{Handler: Handler(s.api), ReadTimeout: limit, WriteTimeout: limit}
	go func() { _ = limited.Serve(ln) }()
	defer limited.Close()
	ctx, cancel := context.WithCancel(t.Context())
	short := &server{Client: Dial(socket)}
	entries, ended := short.follow(ctx)
	for range 3 {
		<-time.After(3 * limit)
		s.log.Logger.Named("module.blog").Info("still here")
		require.Equal(t, "still here", receive(t, entries).Message)
	}
	cancel()
	require.ErrorIs(t, receive(t, ended), context.Canceled)
}

// A client that has gone must not leave a follower behind.
func TestFollowerIsForgotten(t *testing.T) {
	t.Parallel()
	s := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, ended := s.follow(ctx)
	cancel()
	require.Error(t, receive(t, ended))
	require.NoError(t, s.end()) // goleak looks for what is left
}

func TestJSONIsOneLine(t *testing.T) {
	t.Parallel()
	_, body := start(t).raw(t, http.MethodGet, "/v1/modules", "")
	require.Equal(t, 1, bytes.Count([]byte(body), []byte("\n")))
}
