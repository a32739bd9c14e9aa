package plugintest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
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
