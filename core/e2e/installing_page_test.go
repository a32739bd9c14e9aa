package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInstallingPage does what docs/installing.md tells a new user, in a folder outside of the tree, and compares what is
// printed.
func TestInstallingPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/installing.md")
	require.NoError(t, err)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := newDir(t)
	var p *platform
	shell := newShell(t, dir)
	shell.path = built + ":" + shell.path
	for _, step := range steps(string(text)) {
		if step.command == "platformd start" {
			p = launch(t, dir, options{})
			p.awaitReady()
			continue
		}
		command := strings.ReplaceAll(step.command, "../platformd", root)
		step.output = strings.ReplaceAll(step.output, "/home/ada/try", dir)
		if p != nil {
			command = strings.ReplaceAll(command, "http://127.0.0.1:8080", p.url)
		}
		printed := shell.run(command)
		require.Regexp(t, step.pattern(), printed, "$ %s", step.command)
	}
	<-p.exited
}

// TestPackagesPage runs the commands of docs/packages.md, and compares what is printed. `go test` of a new module is left to the
// tests of scaffold.
func TestPackagesPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/packages.md")
	require.NoError(t, err)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	dir := t.TempDir()
	shell := newShell(t, dir)
	shell.path = built + ":" + shell.path
	shell.within = 5 * patience // where nothing has been built for the other platform yet, all of Go's library is
	commands := 0
	for _, step := range steps(string(text)) {
		folder, changes := strings.CutPrefix(step.command, "cd ")
		switch {
		case changes:
			shell.dir = filepath.Join(shell.dir, folder)
		case strings.HasPrefix(step.command, "platformd "):
			step.output = strings.ReplaceAll(step.output, "/home/ada", dir)
			printed := shell.run(strings.ReplaceAll(step.command, "../platformd", root))
			require.Regexp(t, step.pattern(), printed, "$ %s", step.command)
			commands++
		}
	}
	require.Equal(t, 6, commands)
}
