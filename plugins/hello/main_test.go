package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformd/platformd/plugin-api/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGreet(t *testing.T) {
	t.Parallel()
	hello := plugintest.Start(t, module(), plugintest.Options{}).Anonymous()
	for path, want := range map[string]string{
		"/greetings/world":              "hello, world\n",
		"/greetings/G%C3%BCnther%20%25": "hello, Günther %\n",
		"/greetings/%3Cb%3E":            "hello, <b>\n",
	} {
		answer := hello.Get(path)
		require.Equal(t, http.StatusOK, answer.Status, path)
		require.Equal(t, want, string(answer.Body), path)
		require.Equal(t, "text/plain; charset=utf-8", answer.Header.Get("Content-Type"), "never a page with a name in it")
	}
}

// The README shows main.go at first sight: it promises that a module can be this small, in its source and in what it links.
func TestSmall(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.LessOrEqual(t, bytes.Count(source, []byte("\n")), 25, "lines of main.go")

	list := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	list.Stderr = os.Stderr
	deps, err := list.Output()
	require.NoError(t, err)
	require.Contains(t, string(deps), "github.com/platformd/platformd/plugin-api\n")
	for dep := range strings.Lines(string(deps)) {
		for _, heavy := range []string{"gorm.io/", "modernc.org/", "database/sql", "github.com/gin-gonic/"} {
			require.False(t, strings.HasPrefix(dep, heavy), "hello links %s", dep)
		}
	}
}
