package plugintest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestAuthorization(t *testing.T) {
	t.Parallel()
	server := plugintest.Start(t, newProbe().module(), plugintest.Options{
		Manifest: probeManifest, Permissions: []string{"probe.thing.read"},
	})
	ada := pluginapi.Principal{Kind: "token", ID: "tok_1", Name: "Ada"}
	for name, test := range map[string]struct {
		answer *plugintest.Response
		want   int
	}{
		"held":                 {server.Get("/"), http.StatusOK},
		"not held":             {server.Post("/things/1", "x"), http.StatusForbidden},
		"held by another":      {server.As(ada, "probe.thing.write").Post("/things/1", "x"), http.StatusOK},
		"all of a kind":        {server.As(ada, "probe.thing.*").Post("/things/1", "x"), http.StatusOK},
		"all of the module":    {server.As(ada, "probe.*").Get("/"), http.StatusOK},
		"all":                  {server.As(ada, "*").Get("/"), http.StatusOK},
		"none":                 {server.As(ada).Get("/"), http.StatusForbidden},
		"nobody":               {server.Anonymous().Get("/"), http.StatusUnauthorized},
		"nobody, public":       {server.Anonymous().Get("/open"), http.StatusOK},
		"nobody, any":          {server.Anonymous().Get("/whoami"), http.StatusUnauthorized},
		"any, nothing held":    {server.As(ada).Get("/whoami"), http.StatusOK},
		"public, with a token": {server.As(ada).Get("/open"), http.StatusOK},
	} {
		require.Equal(t, test.want, test.answer.Status, name)
		if test.want != http.StatusOK {
			require.Equal(t, test.want, test.answer.Problem().Status, name)
		}
	}
	var who pluginapi.Principal
	server.As(ada).Get("/whoami").JSON(&who)
	require.Equal(t, ada, who)
	server.Get("/whoami").JSON(&who)
	require.Equal(t, pluginapi.Principal{Kind: "token", ID: "test", Name: "test"}, who)
}

func TestRouting(t *testing.T) {
	t.Parallel()
	p := newProbe()
	server := plugintest.Start(t, p.module(), plugintest.Options{Manifest: probeManifest, Permissions: []string{"probe.*"}})
	var echo map[string]string
	server.Post("/things/a%20b", "0123456789").JSON(&echo)
	require.Equal(t, map[string]string{"id": "a b", "body": "0123456789"}, echo)
	server.Post("/api/v1/probe/things/7", map[string]int{"n": 1}).JSON(&echo)
	require.Equal(t, map[string]string{"id": "7", "body": `{"n":1}`}, echo)
	require.Equal(t, "a/b /files/a/b", string(server.Get("/files/a/b").Body), "by Mount")

	for path, want := range map[string]int{
		"/none": http.StatusNotFound, "/open/": http.StatusNotFound, "/files/": http.StatusNotFound,
		"//open": http.StatusBadRequest, "/x/../open": http.StatusBadRequest, "/files/a%2fb": http.StatusBadRequest,
		"/files/%2e%2e/b": http.StatusBadRequest, "/files/a%00b": http.StatusBadRequest, "/files/a%5Cb": http.StatusBadRequest,
	} {
		answer := server.Get(path)
		require.Equal(t, want, answer.Status, path)
		require.Equal(t, want, answer.Problem().Status, path)
	}
	wrong := server.Post("/open", nil)
	require.Equal(t, http.StatusMethodNotAllowed, wrong.Status)
	require.Equal(t, "method_not_allowed", wrong.Problem().Code)
	require.Contains(t, wrong.Header.Get("Allow"), "GET")
	require.Equal(t, http.StatusNotFound, server.Post("/things/0", "x").Status)
	require.Equal(t, "there is no thing 0", server.Post("/things/0", "x").Problem().Detail)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	server := plugintest.Start(t, newProbe().module(), plugintest.Options{
		Manifest: probeManifest, Permissions: []string{"probe.*"},
	})
	for name, body := range map[string]any{
		"announced": "0123456789a",
		"chunked":   io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("a")),
		"long":      io.LimitReader(rand.Reader, 1<<20),
	} {
		answer := server.Post("/things/1", body)
		require.Equal(t, http.StatusRequestEntityTooLarge, answer.Status, name)
		require.Contains(t, answer.Problem().Detail, "10B", name)
	}
	require.Equal(t, http.StatusOK, server.Post("/things/1", io.MultiReader(strings.NewReader("0123456789"))).Status)
	require.Equal(t, http.StatusGatewayTimeout, server.Get("/slow").Status)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	p := newProbe()
	server := plugintest.Start(t, p.module(), plugintest.Options{Manifest: probeManifest})
	events := server.Anonymous().Follow("/ticks")
	for _, want := range []plugintest.Event{{Comment: "hi"}, {ID: "1", Name: "tick", Data: "a\nb"}} {
		event, ok := events.Next()
		require.True(t, ok)
		require.Equal(t, want, event)
	}
	server.Stop() // it waits for exchanges that run, and Drain ends this one: if it came later, Stop would fail
	_, ok := events.Next()
	require.False(t, ok)
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	server := plugintest.Start(t, newProbe().module(), plugintest.Options{Manifest: probeManifest})
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(server.URL(), "http:", "ws:", 1)+"/talk", nil)
	require.NoError(t, err)
	defer conn.CloseNow() //nolint:errcheck // the talk is over
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte("hello")))
	_, message, err := conn.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hello", string(message))
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, strings.TrimSpace(format))
	r.Logf(format, args...)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	failing := newProbe().module()
	failing.Stop = func(context.Context) error { return errors.New("cannot let go") }
	for name, test := range map[string]struct {
		module pluginapi.Module
		act    func(*plugintest.Server)
	}{
		"no answer":     {newProbe().module(), func(s *plugintest.Server) { s.Get("/cut") }},
		"not a problem": {newProbe().module(), func(s *plugintest.Server) { s.Get("/open").Problem() }},
		"not JSON":      {newProbe().module(), func(s *plugintest.Server) { s.Get("/open").JSON(new(int)) }},
		"failed Stop":   {failing, func(s *plugintest.Server) { s.Stop() }},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			server := plugintest.Start(r, test.module, plugintest.Options{Manifest: probeManifest})
			test.act(server)
			require.NotEmpty(t, r.failures)
		})
	}
}
