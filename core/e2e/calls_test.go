package e2e

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

// cried is what crier tells of a call.
type cried struct {
	Answers []string `json:"answers"`
	Code    string   `json:"code"`
	Error   string   `json:"error"`
}

// cry has a module call another one, and returns what came of it.
func (p *platform) cry(token, path string, texts ...string) (told cried) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url+"/api/v1"+path, strings.NewReader(strings.Join(texts, "\n")))
	require.NoError(p.t, err)
	req.Header.Set("X-Tell", "the error")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	got := p.roundTrip(req)
	require.Equal(p.t, http.StatusOK, got.status, got.body)
	got.decode(p.t, &told)
	return told
}

// rename installs a module of built once more, under another name, and changes its manifest.
func rename(t *testing.T, dir, from, to string, changes ...string) {
	t.Helper()
	target := filepath.Join(dir, "modules", to)
	require.NoError(t, os.CopyFS(target, os.DirFS(filepath.Join(built, "modules", from))))
	require.NoError(t, os.Rename(filepath.Join(target, "bin", from), filepath.Join(target, "bin", to)))
	manifest, err := os.ReadFile(filepath.Join(target, "module.yaml"))
	require.NoError(t, err)
	manifest = bytes.Replace(manifest, []byte("name: "+from+"\n"), []byte("name: "+to+"\n"), 1)
	for i := 0; i < len(changes); i += 2 {
		require.Contains(t, string(manifest), changes[i])
		manifest = bytes.ReplaceAll(manifest, []byte(changes[i]), []byte(changes[i+1]))
	}
	require.NoError(t, os.WriteFile(filepath.Join(target, "module.yaml"), manifest, 0o600))
}

func TestModulesCallEachOther(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "parrot", "crier")
	rename(t, dir, "crier", "mute", "[platformd.echo.v1.EchoService]", "[platformd.echo.v1.EchoService/Ask]")
	p := launch(t, dir, options{})
	p.awaitReady()
	token := p.token("parrot.word.hear")

	for method, want := range map[string][]string{
		echo.Ask:     {"crier for token ci, a"},
		echo.Tell:    {"crier for token ci, a"},
		echo.Count:   {"crier for token ci", "a"},
		echo.Collect: {"crier for token ci, a, b"},
		echo.Chat:    {"crier for token ci", "a", "b"},
	} {
		texts := []string{"a"}
		if method == echo.Collect || method == echo.Chat {
			texts = append(texts, "b")
		}
		told := p.cry(token, "/crier/calls/parrot/"+method, texts...)
		require.Equal(t, "OK", told.Code, told.Error)
		for i := range want { // the token's name is not ours to choose
			want[i] = strings.Replace(want[i], "token ci", "token "+tokenName(told.Answers[0]), 1)
		}
		require.Equal(t, want, told.Answers, method)
		require.Contains(t, told.Answers[0], "crier for token ")
	}
	require.Equal(t, []string{"crier for module crier, x"}, p.cry("", "/crier/calls/parrot/Ask", "x").Answers, "for nobody")
	require.Equal(t, []string{"crier for module crier, x"}, p.cry(token, "/crier/background/parrot/Ask", "x").Answers)
	require.Contains(t, p.cry(token, "/crier/calls/parrot/Ask", "may").Answers[0], "may: true")
	require.Contains(t, p.cry(p.token("parrot.word.say"), "/crier/calls/parrot/Ask", "may").Answers[0], "may: false")
	require.Equal(t, http.StatusNotFound, p.do(http.MethodPost, "/api/v1/crier/calls/parrot/Ask", "", "fail").status)

	large := strings.Repeat("x", 1<<20)
	require.Equal(t, "OK", p.cry(token, "/crier/calls/parrot/Ask", large[:900<<10]).Code)
	p.refusesCalls(token)

	var known []struct {
		Name      string
		Ready     bool
		Instances int
	}
	p.do(http.MethodGet, "/api/v1/crier/dependency", token, "").decode(t, &known)
	require.Len(t, known, 2)
	for _, one := range known {
		require.Equal(t, "parrot", one.Name)
		require.True(t, one.Ready)
		require.Equal(t, 1, one.Instances)
	}
	require.Contains(t, p.cli("module", "graph"), "parrot 0.1.0 (ready) *, calls platformd.echo.v1.EchoService")
}

func tokenName(heard string) string {
	_, name, _ := strings.Cut(heard, " for token ")
	name, _, _ = strings.Cut(name, ", ")
	return name
}

// refusesCalls: what a manifest does not declare, and what only the core may say.
func (p *platform) refusesCalls(token string) {
	p.t.Helper()
	require.Equal(p.t, "OK", p.cry(token, "/mute/calls/parrot/Ask", "x").Code)
	for path, want := range map[string]string{
		"/mute/calls/parrot/Tell":                            "services.consumes",
		"/mute/calls/parrot/Chat":                            "services.consumes",
		"/crier/calls/mute/Ask":                              "requires",
		"/crier/calls/parrot/Ask?platformd-caller=billing":   "platformd-caller",
		"/crier/calls/parrot/Ask?platformd-principal=e30":    "platformd-principal",
		"/crier/calls/parrot/Count?platformd-secret=letmein": "platformd-secret",
	} {
		told := p.cry(token, path, "x")
		require.Equal(p.t, "PermissionDenied", told.Code, path)
		require.Contains(p.t, told.Error, want, path)
		require.Contains(p.t, told.Error, "(fix: ", path)
		shown := p.do(http.MethodPost, "/api/v1"+path, token, "x")
		require.Equal(p.t, http.StatusInternalServerError, shown.status, "the client can do nothing about it: %s", path)
		require.NotContains(p.t, shown.body, "fix: ", path)
	}
	told := p.cry(token, "/crier/calls/parrot/Ask?platformd-ticket=forged", "x")
	require.Equal(p.t, "Unauthenticated", told.Code)
	p.await("the refusals to be written down", func() bool {
		log := p.cli("audit", "search", "--action", "module.call", "--outcome", "denied", "-o", "json")
		return strings.Contains(log, "parrot/platformd.echo.v1.EchoService/Tell") &&
			strings.Contains(log, "mute/platformd.echo.v1.EchoService/Ask") && strings.Contains(log, "platformd-caller")
	})
}

// TestAPlanLimitsPosts goes from a user through blog to billing.
func TestAPlanLimitsPosts(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"billing", "blog"}})
	token := p.token("blog.*", "billing.*")
	post := func() answer {
		return p.send(http.MethodPost, "/api/v1/blog/posts", token, map[string]string{"title": "a", "body": "b"})
	}
	first := post()
	require.Equal(t, http.StatusCreated, first.status, first.body)
	changed := p.send(http.MethodPut, "/api/v1/billing/plans/default", token, map[string]any{
		"name": "Default", "price_cents": 0, "currency": "EUR", "post_limit": 2,
	})
	require.Equal(t, http.StatusOK, changed.status, changed.body)
	p.await("blog to hear of the smaller plan", func() bool {
		got := post()
		require.Contains(t, []int{http.StatusCreated, http.StatusTooManyRequests}, got.status, got.body)
		return got.status == http.StatusTooManyRequests && strings.Contains(got.body, "allows 2 posts")
	})
	p.cli("module", "stop", "billing")
	refused := post()
	require.Equal(t, http.StatusServiceUnavailable, refused.status, refused.body)
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/blog/posts", token, "").status)
	p.cli("module", "start", "billing")
	require.Equal(t, http.StatusTooManyRequests, post().status)
}

// TestABinaryThatServesSomethingElse does not start, and says why.
func TestABinaryThatServesSomethingElse(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	rename(t, dir, "parrot", "quiet", "parrot.word.", "quiet.word.", "[platformd.echo.v1.EchoService]", "[platformd.echo.v1.Other]")
	p := launch(t, dir, options{})
	p.awaitReady()
	failed := p.module("quiet")
	require.Equal(t, "failed", failed.State)
	require.Contains(t, failed.Reason, "platformd.echo.v1.Other is in module.yaml, but the binary does not serve it")
	require.Contains(t, failed.Reason, "the binary serves platformd.echo.v1.EchoService, which is not in module.yaml")
}
