package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReadme runs the README's commands as they are printed, one after the other in one folder, and compares what they
// print with what the README says; ids, times and the like may differ. Only the address is replaced: 8080 may be taken.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	dir := newDir(t)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	build := exec.CommandContext(t.Context(), filepath.Join(root, "scripts/build"), dir) // what `make start` does first
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)

	p := runBuilt(t, dir)
	p.awaitReady()
	shell := newShell(t, dir)
	for _, step := range steps(string(text)) {
		if step.command == "make start" {
			continue // is what runs
		}
		run := func() string {
			printed := shell.run(strings.ReplaceAll(step.command, "http://127.0.0.1:8080", p.url))
			return strings.ReplaceAll(printed, p.url, "http://127.0.0.1:8080")
		}
		printed := run()
		if strings.Contains(step.command, "/notify/feed") { // events take a moment, which whoever types gives them
			p.await("the feed", func() bool { printed = run(); return strings.Contains(printed, `"id"`) })
		}
		require.Regexp(t, step.pattern(), printed, "$ %s", step.command)
	}
}

// runBuilt starts the daemon that scripts/build left in dir.
func runBuilt(t *testing.T, dir string) *platform {
	t.Helper()
	return launchBinary(t, dir, filepath.Join(dir, "bin", "platformd"), options{})
}

// step is one command of the README and what it prints.
type step struct{ command, output string }

// steps finds the commands in the console blocks: lines that begin with "$ ", and the lines that follow each.
func steps(text string) (found []step) {
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, output, _ := strings.Cut(part, "\n")
			found = append(found, step{command: command, output: strings.TrimSpace(output)})
		}
	}
	return found
}

// varies are the parts of an output that differ from run to run, by what they look like.
var varies = []string{
	`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, // ids
	`\b[0-9a-f]{16}\b`,                     // ids of tokens
	`\b[A-Z2-7]{26}\b`,                     // ids of events
	`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`, // times
	`pid [0-9]+`,
	`\b[0-9A-F]{16}\b`,         // ids of keys
	`\b[0-9]+ +[0-9a-f]{64}\b`, // sizes with checksums
	`\b[0-9a-f]{64}\b`,         // checksums
	`[0-9]+ bytes, [0-9]+ unpacked`,
	`took +(?:[0-9.]+(?:ms|h|m|s))+`,
	`timestamp:[0-9]+`,
}

// pattern matches what the command may print.
func (s step) pattern() string {
	varying := regexp.MustCompile(strings.Join(varies, "|"))
	var out strings.Builder
	out.WriteString(`^\s*`)
	rest := s.output
	for at := varying.FindStringIndex(rest); at != nil; at = varying.FindStringIndex(rest) {
		out.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		for _, one := range varies {
			if regexp.MustCompile(`^(` + one + `)$`).MatchString(rest[at[0]:at[1]]) {
				out.WriteString("(" + one + ")")
				break
			}
		}
		rest = rest[at[1]:]
	}
	out.WriteString(regexp.QuoteMeta(rest) + `\s*$`)
	return out.String()
}

// shell runs commands one after the other, so that a variable set by one is there for the next.
type shell struct {
	t       *testing.T
	dir     string
	path    string
	within  time.Duration   // bounds each
	history strings.Builder // assignments so far
}

func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	s := &shell{t: t, dir: dir, path: os.Getenv("PATH"), within: patience}
	if _, err := exec.LookPath("curl"); err != nil {
		tools := t.TempDir()
		output, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(tools, "curl"), "./curl").CombinedOutput()
		require.NoError(t, err, "%s", output)
		s.path = tools + ":" + s.path
	}
	return s
}

var assignment = regexp.MustCompile(`^([A-Z]+)=\$\((.*)\)$`)

func (s *shell) run(command string) string {
	s.t.Helper()
	if parts := assignment.FindStringSubmatch(command); parts != nil {
		s.history.WriteString(parts[1] + "='" + strings.TrimSpace(s.run(parts[2])) + "'\n")
		return ""
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), s.within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.history.String()+command)
	cmd.Dir, cmd.Env = s.dir, append(cleanEnv(), "PATH="+s.path)
	output, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "$ %s\n%s", command, output)
	return strings.ReplaceAll(string(output), "\r", "")
}
