package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// requireFix checks the form of every error: it ends with what to do.
func requireFix(t *testing.T, r result, fix string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(r.err, "\n"), "\n")
	require.Contains(t, lines[len(lines)-1], "fix: "+fix, r.err)
}

func decode[T any](t *testing.T, text string) (value T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &value), text)
	return value
}

func TestStatus(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "status")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Empty(t, r.err)
	for _, want := range []string{
		"1.2.3, pid ", ", up 3m", "http://127.0.0.1:8080", "none, everything has its default", "sqlite", "billing", "4711",
	} {
		require.Contains(t, r.out, want)
	}
	answer := decode[struct {
		admin.Info
		Modules []admin.Module `json:"modules"`
	}](t, d.run(t, "status", "-o", "json").out)
	require.True(t, answer.Ready)
	require.Len(t, answer.Modules, 3)
}

func TestStatusUnhealthy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(d *daemon)
		says   string
		fix    string
	}{
		"not ready":  {func(d *daemon) { d.info.Ready = false }, "the platform is not ready", "see why: platformd logs"},
		"failed":     {func(d *daemon) { d.modules[1].State = "failed" }, "blog is in state failed", "platformd module show blog"},
		"held":       {func(d *daemon) { d.modules[0].State = "held" }, "billing is in state held", "platformd module show billing"},
		"crash loop": {func(d *daemon) { d.modules[2].State = "crash_loop" }, "hello is in state crash_loop", "platformd module show"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			d.set(c.change)
			r := d.run(t, "status")
			require.Equal(t, ExitUnhealthy, r.code)
			require.Contains(t, r.out, "billing", "the status is shown all the same")
			require.Contains(t, r.err, c.says)
			requireFix(t, r, c.fix)
		})
	}
	d := startDaemon(t)
	d.set(func(d *daemon) { d.modules[0].State = "starting" })
	require.Equal(t, ExitOK, d.run(t, "status").code, "what passes by itself is no illness")
}

func TestModuleLs(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.set(func(d *daemon) { d.modules[2].Reason = strings.Repeat("x", 200) + "\nmore" })
	r := d.run(t, "module", "ls")
	require.Equal(t, ExitOK, r.code, r.err)
	lines := strings.Split(r.out, "\n")
	require.Regexp(t, `^MODULE +VERSION +STATE +PID +RESTARTS +SINCE +PACKAGE +REASON$`, lines[0])
	require.Regexp(t, `^billing +0\.2\.0 +ready +4711 +0 +\ds +unsigned +$`, lines[1])
	require.Regexp(t, `^blog +0\.3\.0 +ready +4712 +1 +\ds +A67C5E224D7C9333, 1 not approved +$`, lines[2])
	require.Regexp(t, `^hello +0\.1\.0 +ready +- +0 +\ds +- +x{80}…$`, lines[3])
	require.Len(t, decode[[]admin.Module](t, d.run(t, "module", "ls", "-o", "json").out), 3)
	d.set(func(d *daemon) { d.modules = nil })
	require.Equal(t, "[]\n", d.run(t, "module", "ls", "-o", "json").out)
}

func TestModuleShow(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "module", "show", "blog")
	require.Equal(t, ExitOK, r.code, r.err)
	for _, want := range []string{
		"blog 0.3.0", "billing ^0.2", "notify >=0.1", "4712", "blog.post.read", "member", "/api/v1/blog/feed",
	} {
		require.Contains(t, r.out, want)
	}
	require.Regexp(t, `(?m)^signature +A67C5E224D7C9333\ngrants +database\n`+
		`not approved yet +events\.subscribe billing\.plan\.changed\nbefore +0\.2\.9$`, r.out)
	require.Regexp(t, `(?m)^signature +unsigned$`, d.run(t, "module", "show", "hello").out)
	d.set(func(d *daemon) {
		d.modules[1].State, d.modules[1].Instances = "failed", nil
		d.modules[1].Reason, d.modules[1].Fix = "migrate: line 1\nline 2", "repair it"
	})
	r = d.run(t, "module", "show", "blog")
	require.Equal(t, ExitOK, r.code, "showing is not judging")
	require.Regexp(t, `(?m)^reason +migrate: line 1\n +line 2\nfix +repair it$`, r.out)

	r = d.run(t, "module", "show", "blgo")
	require.Equal(t, ExitNotFound, r.code)
	require.Empty(t, r.out)
	require.Contains(t, r.err, `error: there is no module "blgo"; did you mean blog?`)
	requireFix(t, r, "list what there is: platformd module ls")
}

func TestModuleShowJSON(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	shown := decode[struct {
		Instances []struct {
			PID int `json:"pid"`
		} `json:"instances"`
	}](t, d.run(t, "module", "show", "blog", "-o", "json").out)
	require.Equal(t, 4712, shown.Instances[0].PID)
	require.Contains(t, d.run(t, "module", "show", "hello", "-o", "json").out, `"instances": []`)
	require.Equal(t, "0.2.9", decode[packagedModule](t, d.run(t, "module", "show", "blog", "-o", "json").out).Package.Previous)
	require.NotContains(t, d.run(t, "module", "show", "hello", "-o", "json").out, `"package"`)
}

func TestModuleRoutes(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, args := range [][]string{{"module", "routes"}, {"module", "routes", "blog"}} {
		r := d.run(t, args...)
		require.Equal(t, ExitOK, r.code, r.err)
		require.Regexp(t, `(?m)^blog +listPosts +GET +/api/v1/blog/posts +blog\.post\.read +none$`, r.out)
		require.Regexp(t, `(?m)^blog +feed +GET +/api/v1/blog/feed +authenticated +sse$`, r.out)
	}
	routes := decode[[]moduleRoute](t, d.run(t, "module", "routes", "-o", "json").out)
	require.Equal(t, "blog", routes[0].Module)
	require.Equal(t, "/api/v1/blog/posts", routes[0].Path)
	require.Equal(t, "[]\n", d.run(t, "module", "routes", "hello", "-o", "json").out)
	require.Equal(t, ExitNotFound, d.run(t, "module", "routes", "nobody").code)
}

func TestModuleGraph(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "module", "graph")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Equal(t, `blog 0.3.0 (ready)
├── billing 0.2.0 (ready) ^0.2, calls platformd.billing.v1.BillingService
└── notify (missing) >=0.1 (optional)
hello 0.1.0 (ready)
`, r.out)
	require.Contains(t, d.run(t, "module", "graph", "--format", "dot").out,
		`"blog" -> "billing" [label="^0.2, calls platformd.billing.v1.BillingService", style=solid];`)
	require.Contains(t, d.run(t, "module", "graph", "--format", "mermaid").out,
		`m1 -->|"^0.2, calls platformd.billing.v1.BillingService"| m0`)
	g := decode[graph](t, d.run(t, "module", "graph", "-o", "json").out)
	require.Equal(t, []edge{
		{From: "blog", To: "billing", Constraint: "^0.2", Services: []string{"platformd.billing.v1.BillingService"}},
		{From: "blog", To: "notify", Constraint: ">=0.1", Optional: true, Services: []string{}},
	}, g.Edges)
}

func TestToken(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "token", "create", "--permission", "blog.*", "--permission", "blog.post.read", "--ttl", "2d", "--name", "ci")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Contains(t, r.err, "shown once")
	require.Regexp(t, `(?m)^token +pfd_`, r.out)
	require.Regexp(t, `(?m)^permissions +blog\.\* blog\.post\.read$`, r.out)

	r = d.run(t, "token", "create", "--permission", "*", "-q")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Empty(t, r.err)
	identity, err := d.tokens.Authenticate(t.Context(), strings.TrimSuffix(r.out, "\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"*"}, identity.Permissions)

	created := decode[admin.CreatedToken](t, d.run(t, "token", "create", "-o", "json").out)
	require.WithinDuration(t, time.Now().Add(30*24*time.Hour), created.ExpiresAt, time.Minute, "the default")
	require.NotEmpty(t, created.Secret)

	r = d.run(t, "token", "ls")
	require.Regexp(t, `(?m)^\S+ +ci +valid +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +never +- +blog\.\* blog\.post\.read$`, r.out)
	r = d.run(t, "token", "revoke", created.ID)
	require.Equal(t, ExitOK, r.code, r.err)
	_, err = d.tokens.Authenticate(t.Context(), created.Secret)
	require.Error(t, err)
	require.Len(t, decode[[]map[string]any](t, d.run(t, "token", "ls", "-o", "json").out), 3)
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "token", "create", "--permission", "blog.post.raed")
	require.Equal(t, ExitError, r.code)
	require.Empty(t, r.out)
	require.Contains(t, r.err, "blog.post.read", "what was meant")
	requireFix(t, r, "")
	require.Equal(t, ExitError, d.run(t, "token", "create", "--ttl", "20000d").code)
	r = d.run(t, "token", "revoke", "absent")
	require.Equal(t, ExitNotFound, r.code)
	requireFix(t, r, "platformd token ls")
}

// A control socket that may not be opened is another user's daemon.
func TestRefused(t *testing.T) {
	t.Parallel()
	require.Equal(t, ExitAuth, exitCode(explain(admin.ErrRefused, (&app{}).status(), "data")))
}

func TestSilentDaemon(t *testing.T) {
	t.Parallel()
	d := &daemon{dir: t.TempDir()}
	d.takeLock(t)
	defer d.lock.Close()
	_, fix := message(explain(admin.ErrSilent, (&app{}).status(), d.dir))
	require.Contains(t, fix, fmt.Sprintf("kill -9 %d", os.Getpid()))
}

func TestCompletionKnowsTheModules(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := invoke(t.Context(), "__complete", "--data-dir", d.dir, "module", "show", "")
	require.Contains(t, r.out, "blog\tPosts\n")
	require.Contains(t, r.out, "billing\n")
}

// Whatever a module calls itself, the terminal of who looks at it obeys nothing of it.
func TestModulesCannotDriveTheTerminal(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	evil := "\x1b]0;x\x07\u009b2J\u202eevil\t\r\x7f"
	d.set(func(d *daemon) {
		d.modules = []admin.Module{{
			Name: evil, Version: evil, Description: evil, State: evil, Reason: evil, Fix: evil, Dir: evil, Signature: evil,
			Permissions: []admin.Permission{{Name: evil, Description: evil, Roles: []string{evil}}},
			Routes:      []admin.Route{{ID: evil, Method: evil, Path: evil, Access: evil, Stream: evil}},
			Requires:    map[string]string{evil: evil},
		}}
	})
	for _, args := range [][]string{
		{"status"}, {"module", "ls"}, {"module", "show", evil}, {"module", "show", "evil"}, {"module", "routes"}, {"logs", evil + "x"},
		{"module", "graph"}, {"module", "graph", "--format", "dot"}, {"module", "graph", "--format", "mermaid"},
	} {
		for _, more := range []string{"table", "json"} {
			r := d.run(t, append(args, "-o", more)...)
			require.NotEmpty(t, r.out+r.err)
			require.False(t, strings.ContainsAny(r.out+r.err, "\x1b\x07\u009b\u202e\t\r\x7f"), "%q: %q", args, r.out+r.err)
		}
	}
	shown := decode[[]admin.Module](t, d.run(t, "module", "ls", "-o", "json").out)
	require.Equal(t, evil, shown[0].Name, "JSON still says what is there")
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	var errOut strings.Builder
	deps := Deps{Out: io.Discard, Err: &errOut, Env: []string{}, Run: func(context.Context, StartOptions) error {
		return WithExit(ExitAlreadyRunning, errors.New("platformd already runs with pid 7 (fix: `platformd stop`)"))
	}}
	require.Equal(t, ExitAlreadyRunning, run(t.Context(), []string{"start"}, deps))
	require.Equal(t, "error: platformd already runs with pid 7\nfix: `platformd stop`\n", errOut.String())
}

func TestStartHandsOverTheSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte("data: { dir: from-file }\n"), 0o600))
	var got StartOptions
	deps := Deps{
		Out: os.Stdout, Err: os.Stderr, Env: []string{}, Version: "1",
		Run: func(_ context.Context, opts StartOptions) error { got = opts; return nil },
	}
	require.Equal(t, ExitOK, run(t.Context(), []string{"start", "--config", file, "--listen", "127.0.0.1:1"}, deps))
	require.Equal(t, "127.0.0.1:1", got.Config.Server.Listen)
	require.Equal(t, "from-file", got.Config.Data.Dir)
	require.Equal(t, file, got.ConfigFile)
	require.Equal(t, "1", got.Version)
	require.Equal(t, ExitOK, run(t.Context(), []string{"start", "--data-dir", "from-flag"}, deps))
	require.Equal(t, "from-flag", got.Config.Data.Dir)
	require.Empty(t, got.ConfigFile, "there is none in the working directory")
}
