package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// states are how the migrations of a module stand, in order, as `migrate status` has it.
func (p *platform) states(module string) string {
	p.t.Helper()
	var all []struct {
		Steps []struct {
			State string `json:"state"`
		} `json:"steps"`
	}
	require.NoError(p.t, json.Unmarshal([]byte(p.cli("migrate", "status", "--module", module, "-o", "json")), &all))
	require.Len(p.t, all, 1)
	var states []string
	for _, step := range all[0].Steps {
		states = append(states, step.State)
	}
	return strings.Join(states, " ")
}

const (
	sixApplied = "applied applied applied applied applied applied"
	twoPending = "applied applied applied applied pending pending"
)

// edit changes a migration of scribe in the folder that the platform runs.
func (p *platform) edit(file, content string) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(filepath.Join(p.dir, "modules", "scribe", "migrations", file), []byte(content), 0o644))
}

func TestMigrateWhileTheDaemonRuns(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		p := launch(t, newDirOn(t, backend, "hello", "clerk", "scribe"), options{})
		p.awaitReady()
		p.requireMigratedOnce("scribe")
		before := p.pid("scribe")

		p.cli("migrate", "down", "-y", "--steps", "2", "--module", "scribe")
		require.Equal(t, twoPending, p.states("scribe"))
		require.Equal(t, "stopped", p.module("scribe").State)
		require.False(t, alive(before))
		require.Equal(t, http.StatusServiceUnavailable, p.do(http.MethodPost, "/api/v1/scribe/sql", "", "SELECT 1").status)
		p.serves("hello", http.StatusOK)
		require.Equal(t, clerkSteps, p.query("clerk", "SELECT step FROM clerk_log ORDER BY step"), "the other module runs on")
		plan := p.cli("migrate", "plan")
		require.Contains(t, plan, "-- scribe 0005_table\nCREATE TABLE scribe_table5 (n integer);\n")
		require.NotContains(t, plan, "clerk")
		require.Equal(t, twoPending, p.states("scribe"), "a plan runs nothing")

		p.cli("migrate", "up", "--module", "scribe")
		require.Equal(t, sixApplied, p.states("scribe"))
		require.Equal(t, "stopped", p.module("scribe").State, "who stopped it says when it starts")
		p.cli("module", "start", "scribe")
		p.requireMigratedOnce("scribe")

		before = p.pid("scribe")
		p.edit("0006_index.up.sql", "INSERT INTO scribe_log VALUES ('0006_index'), ('0007_edited');")
		p.cli("migrate", "redo", "-y", "--module", "scribe")
		require.NotEqual(t, before, p.pid("scribe"))
		require.Equal(t, append(clerkSteps[:6:6], "0007_edited"), p.query("scribe", "SELECT step FROM scribe_log ORDER BY step"))
		require.Equal(t, sixApplied, p.states("scribe"))
	})
}

// What an order cannot do leaves the module as it was, and at work.
func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		p := launch(t, newDirOn(t, backend, "hello", "clerk"), options{})
		p.awaitReady()
		p.pid("clerk")
		for _, test := range []struct {
			args []string
			code int
			says string
		}{
			{[]string{"down", "-y", "--module", "clerk"}, 1, "migration 0006_index has no Down"},
			{[]string{"down", "-y", "--module", "clerk", "--steps", "7"}, 1, "7 migrations are to be undone, and 6 have been applied"},
			{[]string{"redo", "-y", "--module", "clerk"}, 1, "migration 0006_index has no Down"},
			{[]string{"up", "--module", "hello"}, 1, "module hello has no migrations"},
			{[]string{"up", "--module", "clark"}, 5, "did you mean clerk?"},
		} {
			_, stderr, code := p.tryCLI(append([]string{"migrate"}, test.args...)...)
			require.Equal(t, test.code, code, stderr)
			require.Contains(t, stderr, test.says)
			require.Contains(t, stderr, "\nfix: ")
			p.pid("clerk")
		}
		p.requireMigratedOnce("clerk")
	})
}

// A module that failed for its migrations starts once they have been applied; an undoing that breaks off leaves it stopped.
func TestMigrateMends(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		p := &platform{t: t, dir: newDirOn(t, backend, "scribe")}
		p.edit("0007_broken.up.sql", "CREATE TABLE scribe_table7 (n integer); SELECT nothing_of_the_kind;")
		p.edit("0007_broken.down.sql", "DROP TABLE scribe_table7")
		dir := p.dir
		p = launch(t, dir, options{})
		p.awaitReady()
		require.Equal(t, "failed", p.module("scribe").State)
		require.Contains(t, p.module("scribe").Reason, "migration 0007_broken failed: statement 2 of 2")
		_, stderr, code := p.tryCLI("migrate", "up", "--module", "scribe")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "migration 0007_broken failed")
		require.Equal(t, sixApplied+" pending", p.states("scribe"))

		p.edit("0007_broken.up.sql", "CREATE TABLE scribe_table7 (n integer); SELECT 1;")
		p.cli("migrate", "up", "--module", "scribe")
		p.pid("scribe")
		require.Equal(t, sixApplied+" applied", p.states("scribe"))

		p.edit("0006_index.down.sql", "DROP TABLE nothing_of_the_kind")
		_, stderr, code = p.tryCLI("migrate", "down", "-y", "--steps", "2", "--module", "scribe")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "migration 0006_index could not be undone")
		require.Contains(t, stderr, "the module stays stopped")
		require.Equal(t, sixApplied+" pending", p.states("scribe"))
		require.Equal(t, "stopped", p.module("scribe").State)
	})
}

func TestMigrateWithoutADaemon(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "hello", "clerk", "scribe")
		offline := &platform{t: t, dir: dir, env: append(cleanEnv(), databaseOf(dir)...)}
		pending := strings.TrimSpace(strings.Repeat("pending ", 6))
		require.Equal(t, pending, offline.states("clerk"))
		require.Contains(t, offline.cli("migrate", "plan"), "-- clerk 0002_table\nCREATE TABLE clerk_table2 (n integer);\n")
		offline.cli("migrate", "up", "--module", "scribe")
		offline.cli("migrate", "redo", "-y", "--module", "scribe")
		offline.cli("migrate", "down", "-y", "--steps", "2", "--module", "scribe")
		require.Equal(t, twoPending, offline.states("scribe"))
		require.Equal(t, pending, offline.states("clerk"))
		_, _, code := offline.tryCLI("migrate", "up", "--module", "clark")
		require.Equal(t, 5, code)
		require.NoDirExists(t, filepath.Join(dir, "data", "run"), "nothing is left of the work")
		if backend == onPostgreSQL {
			requireNoLogins(t, strings.TrimPrefix(databaseOf(dir)[0], "PLATFORMD_DATABASE_URL="))
		}

		p := launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("scribe")
		p.requireMigratedOnce("clerk")
		require.NotContains(t, p.log.String(), "id=0004_table module=scribe", "what was applied is not applied again")
	})
}

// The data directory is for one at a time, and a command that is killed leaves what the next start puts right.
func TestMigrateIsKilledWithoutADaemon(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		dir := newDirOn(t, backend, "clerk")
		offline := &platform{t: t, dir: dir, env: append(cleanEnv(), databaseOf(dir)...)}
		hold := filepath.Join(dir, "modules", "clerk", "hold-0003_table")
		require.NoError(t, os.WriteFile(hold, nil, 0o644))
		command := offline.command(t.Context(), "migrate", "up", "--module", "clerk")
		errOut := &logBuffer{}
		command.Stderr = errOut
		require.NoError(t, command.Start())
		reached := func() bool { return strings.Contains(errOut.String(), "applying 0002_table: ") }
		require.Eventually(t, reached, patience, 5*time.Millisecond)

		_, stderr, code := offline.tryCLI("migrate", "up", "--module", "clerk")
		require.Equal(t, 8, code, stderr)
		require.Contains(t, stderr, "platformd already runs on")
		started, out := platformStart(offline)
		require.Equal(t, 8, started, out)

		require.NoError(t, command.Process.Kill())
		_ = command.Wait() // it was killed
		gone := func() bool { return len(below(t, filepath.Join(dir, "modules", "clerk"))) == 0 }
		require.Eventually(t, gone, patience, 5*time.Millisecond)
		require.NoError(t, os.Remove(hold))
		p := launch(t, dir, options{})
		p.awaitReady()
		p.requireMigratedOnce("clerk")
	})
}

// platformStart starts a daemon that is expected to end by itself.
func platformStart(p *platform) (code int, output string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(built, "platformd"), "start", "--listen", freeAddress(p.t))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, &out, &out
	_ = cmd.Run() // its exit code is the result
	return cmd.ProcessState.ExitCode(), out.String()
}
