package plugintest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/plugintest"
	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

func TestMain(m *testing.M) {
	echo.Describe() // before anything reads the registry
	goleak.VerifyTestMain(m)
}

const probeManifest = "testdata/module.yaml"

// probe is a module that shows what it was given.
type probe struct {
	core     *pluginapi.Core
	migrated []pluginapi.Step
	calls    []string // Init, Drain, Stop
	initErr  error
	health   error
	drained  chan struct{}
	config   struct {
		Greeting string `json:"greeting"`
	}
}

func newProbe() *probe { return &probe{drained: make(chan struct{})} }

func (p *probe) module() pluginapi.Module {
	return pluginapi.Module{
		Routes: map[string]pluginapi.Handler{
			"root": p.root, "echo": p.echo, "whoami": p.whoami, "open": p.root, "slow": p.slow, "ticks": p.ticks,
			"talk": p.talk, "cut": p.cut,
		},
		Mount: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.PathValue("rest")+" "+r.URL.Path)
		}),
		Migrations: &pluginapi.Migrations{IDs: []string{"0001", "0002"}, Run: p.migrate},
		Init:       p.start,
		Health:     func(context.Context) error { return p.health },
		Drain: func(context.Context) error {
			close(p.drained)
			p.calls = append(p.calls, "Drain")
			return nil
		},
		Stop: func(context.Context) error { p.calls = append(p.calls, "Stop"); return nil },
	}
}

func (p *probe) migrate(_ context.Context, _ pluginapi.Database, step pluginapi.Step) ([]string, error) {
	p.migrated = append(p.migrated, step)
	return nil, nil
}

func (p *probe) start(_ context.Context, core *pluginapi.Core) error {
	p.core = core
	p.calls = append(p.calls, "Init")
	if p.initErr != nil {
		return p.initErr
	}
	return core.Config(&p.config)
}

func (p *probe) root(w http.ResponseWriter, _ *http.Request) error {
	_, err := io.WriteString(w, "root")
	return err
}

func (p *probe) echo(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("id") == "0" {
		return status.Error(codes.NotFound, "there is no thing 0")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, map[string]string{"id": r.PathValue("id"), "body": string(body)})
}

func (p *probe) whoami(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Authorization") != "" {
		return errors.New("a module must not see the token")
	}
	return pluginapi.WriteJSON(w, http.StatusOK, pluginapi.PrincipalFrom(r.Context()))
}

func (p *probe) slow(_ http.ResponseWriter, r *http.Request) error {
	<-r.Context().Done()
	return r.Context().Err()
}

func (p *probe) cut(w http.ResponseWriter, _ *http.Request) error {
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	return errors.New("too late for a problem")
}

// ticks sends two events and ends only when the module drains.
func (p *probe) ticks(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/event-stream")
	if _, err := io.WriteString(w, ": hi\n\nid: 1\nevent: tick\ndata: a\ndata: b\n\n"); err != nil {
		return err
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return err
	}
	select {
	case <-p.drained:
	case <-r.Context().Done():
	}
	return nil
}

func (p *probe) talk(w http.ResponseWriter, r *http.Request) error {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer conn.CloseNow() //nolint:errcheck // the talk is over
	kind, message, err := conn.Read(r.Context())
	if err != nil {
		return err
	}
	if err := conn.Write(r.Context(), kind, message); err != nil {
		return err
	}
	return conn.Close(websocket.StatusNormalClosure, "")
}

func TestLife(t *testing.T) {
	t.Parallel()
	p, data := newProbe(), t.TempDir()
	server := plugintest.Start(t, p.module(), plugintest.Options{
		Manifest: probeManifest, Config: map[string]string{"greeting": "hi"}, Data: data,
	})
	require.Equal(t, []pluginapi.Step{{ID: "0001"}, {ID: "0002"}}, p.migrated)
	require.Equal(t, "hi", p.config.Greeting)
	require.Equal(t, []string{"probe", "1.2.3"}, []string{p.core.Name, p.core.Version})
	require.Equal(t, pluginapi.Database{
		Driver: "sqlite", Source: filepath.Join(data, "probe.db"), TablePrefix: "probe_",
	}, p.core.Database)
	require.Equal(t, p.core.Database, server.Core().Database)
	server.Stop()
	server.Stop()
	require.Equal(t, []string{"Init", "Drain", "Stop"}, p.calls)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*probe, *pluginapi.Module)
		options plugintest.Options
		want    string
		calls   []string
	}{
		"no manifest":     {options: plugintest.Options{Manifest: "testdata/none.yaml"}, want: "none.yaml"},
		"missing handler": {change: func(_ *probe, m *pluginapi.Module) { m.Mount = nil }, want: "route files is in module"},
		"unknown handler": {
			change: func(p *probe, m *pluginapi.Module) { m.Routes["more"] = p.root }, want: "route more, which is not",
		},
		"no migrations": {
			change: func(_ *probe, m *pluginapi.Module) { m.Migrations = nil }, want: "the binary has 0 migrations",
		},
		"nil handler": {
			change: func(_ *probe, m *pluginapi.Module) { m.Routes["root"] = nil }, want: `Routes["root"] is nil`,
		},
		"failed migration": {
			change: func(_ *probe, m *pluginapi.Module) {
				m.Migrations.Run = func(context.Context, pluginapi.Database, pluginapi.Step) ([]string, error) {
					return nil, errors.New("no such table")
				}
			},
			want: "migration 0001: no such table",
		},
		"failed Init": {
			change: func(p *probe, _ *pluginapi.Module) { p.initErr = errors.New("no licence") }, want: "no licence",
			calls: []string{"Init", "Stop"},
		},
		"unwell": {
			change: func(p *probe, _ *pluginapi.Module) { p.health = errors.New("disk full") }, want: "health: disk full",
			calls: []string{"Init", "Stop"},
		},
		"bad config": {
			options: plugintest.Options{Config: map[string]string{"greeting": ""}}, want: "breaks config.schema.json",
		},
		"unknown permission": {
			options: plugintest.Options{Permissions: []string{"probe.thing.*", "probe.think.read"}},
			want:    `no permission that "probe.think.read" matches`, calls: []string{"Init", "Stop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProbe()
			module := p.module()
			if test.change != nil {
				test.change(p, &module)
			}
			if test.options.Manifest == "" {
				test.options.Manifest = probeManifest
			}
			_, err := plugintest.Try(t, module, test.options)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, test.calls, p.calls)
		})
	}
}

func TestConfigOfAModuleWithoutOne(t *testing.T) {
	t.Parallel()
	manifest := filepath.Join(t.TempDir(), "module.yaml")
	require.NoError(t, os.WriteFile(manifest, []byte("apiVersion: platformd/v1\nname: bare\nversion: 1.0.0\n"), 0o600))
	bare := plugintest.Start(t, pluginapi.Module{}, plugintest.Options{Manifest: manifest})
	require.Zero(t, bare.Core().Database)
	require.Equal(t, http.StatusNotFound, bare.Get("/anything").Status)

	_, err := plugintest.Try(t, pluginapi.Module{}, plugintest.Options{Manifest: manifest, Config: map[string]int{"a": 1}})
	require.ErrorContains(t, err, "declares no configuration")
}

func TestDependencies(t *testing.T) {
	t.Parallel()
	p := newProbe()
	billing := pluginapi.Dependency{Name: "billing", Version: "0.2.0", Ready: true}
	plugintest.Start(t, p.module(), plugintest.Options{
		Manifest: probeManifest, Dependencies: []pluginapi.Dependency{billing},
	})
	got, err := p.core.Dependency(t.Context(), "billing")
	require.NoError(t, err)
	require.Equal(t, billing, got)

	got, err = p.core.Dependency(t.Context(), "notify")
	require.NoError(t, err)
	require.False(t, got.Ready)
	require.Contains(t, got.Reason, "not installed")

	_, err = p.core.Dependency(t.Context(), "stranger")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

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
