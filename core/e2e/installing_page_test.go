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
