package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/plugin-api/problem"
)

// TestTour is what a newcomer does: greet, be refused, get a token, post, kill the module, find the post.
func TestTour(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "billing", "blog"}})

	greeting := p.do(http.MethodGet, "/api/v1/hello/greetings/Ada", "", "")
	require.Equal(t, http.StatusOK, greeting.status)
	require.Equal(t, "hello, Ada", strings.TrimSpace(greeting.body))

	refused := p.do(http.MethodGet, "/api/v1/blog/posts", "", "")
	require.Equal(t, http.StatusUnauthorized, refused.status)
	require.Equal(t, problem.ContentType, refused.header.Get("Content-Type"))

	token := p.token("blog.*")
	created := p.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"First","body":"It works."}`)
	require.Equal(t, http.StatusCreated, created.status, created.body)
	var post struct{ ID, Title string }
	created.decode(t, &post)

	before := p.pid("blog")
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	killed := time.Now()
	p.await("the post to be back", func() bool {
		got := p.do(http.MethodGet, "/api/v1/blog/posts/"+post.ID, token, "")
		return got.status == http.StatusOK && strings.Contains(got.body, "It works.")
	})
	require.Less(t, time.Since(killed), 10*time.Second, "the promise is 2 s on an idle machine")
	require.NotEqual(t, before, p.pid("blog"))
	require.Equal(t, 1, p.module("blog").Restarts)
	var shown admin.Module
	require.NoError(t, json.Unmarshal([]byte(p.cli("module", "show", "blog", "-o", "json")), &shown))
	require.Equal(t, p.module("blog"), shown, "the command shows what the tests ask for")
}

// TestPermissionsAreWhatTheTokenHolds tries one token on routes it may and may not call.
func TestPermissionsAreWhatTheTokenHolds(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"billing", "blog"}})
	reader := p.token("blog.post.read")
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/blog/posts", reader, "").status)

	forbidden := p.do(http.MethodPost, "/api/v1/blog/posts", reader, `{"title":"x","body":"y"}`)
	require.Equal(t, http.StatusForbidden, forbidden.status)
	require.Contains(t, forbidden.body, "blog.post.create", "the problem must name what is missing")

	require.Equal(t, http.StatusUnauthorized, p.do(http.MethodGet, "/api/v1/blog/posts", "pfd_forged", "").status)

	var tokens []struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(p.cli("token", "ls", "-o", "json")), &tokens))
	require.Len(t, tokens, 1)
	p.cli("token", "revoke", tokens[0].ID)
	require.Equal(t, http.StatusUnauthorized, p.do(http.MethodGet, "/api/v1/blog/posts", reader, "").status)
}

// TestDataOutlivesTheDaemon stops the platform in order and starts it again on the same folder.
func TestDataOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "billing", "blog")
	first := launch(t, dir, options{})
	first.awaitReady()
	token := first.token("blog.*")
	created := first.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"Kept","body":"Across a restart."}`)
	require.Equal(t, http.StatusCreated, created.status, created.body)
	first.stop()

	second := launch(t, dir, options{})
	second.awaitReady()
	list := second.do(http.MethodGet, "/api/v1/blog/posts", token, "")
	require.Equal(t, http.StatusOK, list.status, list.body)
	require.Contains(t, list.body, "Across a restart.")
}

// TestSecondStartNamesTheFirst starts twice on one data directory.
func TestSecondStartNamesTheFirst(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello"}})
	_, errOut, code := p.tryCLI("start", "--listen", "127.0.0.1:0")
	require.Equal(t, 8, code, errOut)
	require.Contains(t, errOut, strconv.Itoa(p.cmd.Process.Pid))
	require.Contains(t, errOut, "fix:")
}

// TestCommandsOnARunningPlatform walks the commands that ask the daemon.
func TestCommandsOnARunningPlatform(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"hello", "billing", "blog"}})
	require.Contains(t, p.cli("status"), "blog")
	require.Contains(t, p.cli("module", "ls"), "hello")
	require.Contains(t, p.cli("module", "routes", "blog"), "/api/v1/blog/posts/{id}")
	require.Contains(t, p.cli("module", "graph", "--format", "dot"), `"blog" -> "billing"`)
	require.Contains(t, p.cli("module", "graph", "--format", "mermaid"), "flowchart TD")
	require.Contains(t, p.cli("logs", "--lines", "50"), "ready")

	_, errOut, code := p.tryCLI("module", "show", "blgo")
	require.Equal(t, 5, code)
	require.Contains(t, errOut, "blog", "a near name is offered")

	p.cli("stop")
	select {
	case <-p.exited:
	case <-time.After(patience):
		require.FailNow(t, "`platformd stop` returned before the daemon was gone")
	}
	require.NoError(t, p.exitErr)
}

// TestAStartThatCannotWorkChangesNothing tries settings that no daemon can run with.
func TestAStartThatCannotWorkChangesNothing(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	cases := map[string]struct {
		args []string
		env  string
		code int
		says string
	}{
		"missing config":  {args: []string{"--config", "nope.yaml"}, code: 3, says: "nope.yaml"},
		"port":            {env: "PLATFORMD_SERVER_LISTEN=127.0.0.1:70000", code: 3, says: "70000"},
		"no unit":         {env: "PLATFORMD_SERVER_HOLDTIMEOUT=5", code: 3, says: "write 5s"},
		"no broker":       {env: "PLATFORMD_EVENTS_URL=http://guest:hunter2@127.0.0.1", code: 3, says: "not the URL of a RabbitMQ"},
		"long socket":     {args: []string{"--data-dir", filepath.Join(dir, strings.Repeat("x", 100))}, code: 1, says: "at most 107"},
		"unknown command": {args: []string{"--frobnicate"}, code: 2, says: "unknown flag"},
	}
	for name, c := range cases {
		ctx, cancel := context.WithTimeout(t.Context(), patience) // it may start after all
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(built, "platformd"), append([]string{"start"}, c.args...)...)
		cmd.Dir, cmd.Env = dir, append(cleanEnv(), c.env)
		output, err := cmd.CombinedOutput()
		require.Error(t, err, name)
		require.Equal(t, c.code, cmd.ProcessState.ExitCode(), "%s: %s", name, output)
		require.Contains(t, string(output), c.says, name)
		require.Contains(t, string(output), "fix: ", name)
		require.NotContains(t, string(output), "hunter2", name)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing but modules/")
}
