package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// mortal is platformd built to kill itself where PLATFORMD_FAILPOINT says. It is built once, when a test wants it.
var mortal = sync.OnceValues(func() (string, error) {
	out := filepath.Join(built, "mortal")
	cmd := exec.Command("go", "build", "-tags", "failpoints", "-ldflags=-s -w", "-o", out, "./core/cmd/platformd")
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return out, nil
})

// packScribe makes a package of the scribe, of which each version from 1 has one migration more than the one before.
func packScribe(t *testing.T, minor int) string {
	t.Helper()
	return pack(t, "scribe", "scribe-"+scribeVersion(minor), func(folder string) { layScribe(t, folder, minor) })
}

func layScribe(t *testing.T, dir string, minor int) {
	t.Helper()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(built, "modules", "scribe"))))
	text, err := os.ReadFile(filepath.Join(dir, "module.yaml"))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "version:") {
			lines[i] = "version: " + scribeVersion(minor)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "module.yaml"), []byte(strings.Join(lines, "\n")), 0o644))
	for n := range minor {
		for direction, statement := range map[string]string{
			"up": "CREATE TABLE scribe_more%d (id INTEGER);", "down": "DROP TABLE scribe_more%d;",
		} {
			name := fmt.Sprintf("%04d_more.%s.sql", 100+n, direction)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "migrations", name), fmt.Appendf(nil, statement, n), 0o644))
		}
	}
}

func scribeVersion(minor int) string { return fmt.Sprintf("1.%d.0", minor) }

// packages asks the running daemon.
func (p *platform) packages() admin.Packages {
	return p.admin().Packages()
}

// actPurge is an uninstallation that removes the data, too.
const actPurge = "purge"

// change makes one, of which nobody may be left to tell the outcome.
func (p *platform) change(ctx context.Context, act, file string) error {
	change := admin.PackageChange{Act: act, Module: "scribe"}
	if act == actPurge {
		change.Act, change.Purge = admin.ActUninstall, true
	}
	if act == admin.ActInstall {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		plan, err := p.packages().Stage(ctx, f, admin.StageOptions{AllowUnsigned: true})
		if err != nil {
			return err
		}
		change = admin.PackageChange{Act: act, Staged: plan.Staged}
		for _, ask := range plan.Asks {
			change.Approve = append(change.Approve, ask.Grant)
		}
	}
	_, err := p.packages().Apply(ctx, change)
	return err
}

// installed is the scribe's version as platformd.lock has it, "" without one. It fails the test unless the platform is just that:
// what runs, what is served, and what lies in the store.
func (p *platform) installed() string {
	p.t.Helper()
	all, err := p.packages().List(p.t.Context())
	require.NoError(p.t, err)
	store := filepath.Join(p.dir, "data", "store")
	require.NoFileExists(p.t, filepath.Join(store, "journal.json"))
	left, _ := os.ReadDir(filepath.Join(store, ".staged"))
	require.Empty(p.t, left)
	versions, _ := os.ReadDir(filepath.Join(store, "scribe"))
	if len(all) == 0 {
		require.Empty(p.t, versions)
		require.Equal(p.t, http.StatusNotFound, p.do(http.MethodPost, "/api/v1/scribe/sql", "", "SELECT 1").status)
		return ""
	}
	var kept []string
	for _, v := range versions {
		kept = append(kept, v.Name())
	}
	wanted := []string{all[0].Version}
	if all[0].Previous != "" {
		wanted = append(wanted, all[0].Previous)
	}
	require.ElementsMatch(p.t, wanted, kept)
	view := p.module("scribe")
	require.Equal(p.t, all[0].Version, view.Version)
	require.Equal(p.t, "ready", view.State, view.Reason)
	require.Equal(p.t, http.StatusOK, p.do(http.MethodPost, "/api/v1/scribe/sql", "", "SELECT 1").status)
	return all[0].Version
}

// again starts the platform that was killed once more.
func (p *platform) again() *platform {
	p.t.Helper()
	<-p.exited
	next := launch(p.t, p.dir, options{})
	next.awaitReady()
	return next
}

// TestInstallG10Failpoints kills the daemon at each of the places between two steps of a change.
func TestInstallG10Failpoints(t *testing.T) {
	t.Parallel()
	binary, err := mortal()
	require.NoError(t, err)
	staging := []string{"stage.folder", "stage.extracted", "stage.listed", "stage.sealed"}
	moving := []string{"begin.renamed", "begin.moved", "begin.folder", "begin.done", "commit.chosen", "commit.swept", "commit.ended"}
	sitting := []string{
		"begin.journal", "commit.lock.written", "commit.lock.renamed", "commit.chosen", "commit.swept", "commit.ended",
	}
	cases := []struct {
		act      string
		old, new int // versions; -1: none
		points   []string
	}{
		{admin.ActInstall, -1, 0, append(staging, moving...)},
		{admin.ActInstall, 0, 1, append(staging, moving...)},
		{admin.ActUninstall, 0, -1, sitting},
		{actPurge, 0, -1, []string{"commit.chosen", "commit.swept"}},
	}
	packages := []string{packScribe(t, 0), packScribe(t, 1)}
	version := func(n int) string {
		if n < 0 {
			return ""
		}
		return scribeVersion(n)
	}
	if !full() {
		cases[0].points, cases[1].points, cases[2].points = moving[1:2], []string{"begin.done", "commit.chosen"}, sitting[2:3]
		cases[3].points = []string{"commit.swept"}
	}
	kills := 0
	for _, c := range cases {
		kills += len(c.points)
	}
	report(t, proof{"G10", "kill -9 of the daemon at a failpoint of an installation, an upgrade or an uninstallation", kills}, nil)
	p := start(t, options{})
	for _, c := range cases {
		for _, point := range c.points {
			p.bringTo(version(c.old), packages)
			p.stop()
			doomed := launchBinary(t, p.dir, binary, options{env: []string{"PLATFORMD_FAILPOINT=" + point}})
			doomed.awaitReady()
			require.Error(t, doomed.change(t.Context(), c.act, packages[max(c.new, 0)]), "%s at %s", c.act, point)
			<-doomed.exited
			var killed *exec.ExitError
			require.ErrorAs(t, doomed.exitErr, &killed)
			status, ok := killed.Sys().(syscall.WaitStatus)
			require.True(t, ok && status.Signal() == syscall.SIGKILL, "%s at %s", c.act, point)
			p = doomed.again()
			require.Contains(t, []string{version(c.old), version(c.new)}, p.installed(), "%s at %s", c.act, point)
		}
	}
}

// bringTo has the platform consist of one version of the scribe, or none.
func (p *platform) bringTo(version string, packages []string) {
	p.t.Helper()
	if p.installed() == version {
		return
	}
	if p.installed() != "" {
		require.NoError(p.t, p.change(p.t.Context(), actPurge, ""))
	}
	for minor, file := range packages {
		if version == scribeVersion(minor) {
			require.NoError(p.t, p.change(p.t.Context(), admin.ActInstall, file))
		}
	}
	require.Equal(p.t, version, p.installed())
}

// TestInstallG10RandomKills kills the daemon at any moment of changes, again and again.
func TestInstallG10RandomKills(t *testing.T) {
	t.Parallel()
	kills := count(3, 300)
	var outcomes [2]int // old, new
	what := "kill -9 of the daemon at a random instant of an installation, an upgrade or an uninstallation"
	report(t, proof{"G10", what, kills}, func() string {
		return fmt.Sprintf("%d left the old one, %d the new one", outcomes[0], outcomes[1])
	})
	packages := []string{packScribe(t, 0), packScribe(t, 1), packScribe(t, 2), packScribe(t, 3)}
	p := start(t, options{})
	began := time.Now()
	require.NoError(t, p.change(t.Context(), admin.ActInstall, packages[0]))
	longest := 2 * time.Since(began) // on a machine this busy: some are to end before they are killed
	for range kills {
		before := p.installed()
		act, file, wanted := nextChange(before, packages)
		done := make(chan error, 1)
		go func() { done <- p.change(t.Context(), act, file) }()
		<-time.After(rand.N(longest))
		require.NoError(t, p.cmd.Process.Kill())
		if err := <-done; err != nil {
			require.NotErrorIs(t, err, context.Canceled)
		}
		p = p.again()
		after := p.installed()
		require.Contains(t, []string{before, wanted}, after, act)
		if after == wanted {
			outcomes[1]++
		} else {
			outcomes[0]++
		}
	}
}

// nextChange goes up through the versions and then begins anew.
func nextChange(before string, packages []string) (act, file, wanted string) {
	for minor, file := range packages {
		if before == "" {
			return admin.ActInstall, file, scribeVersion(minor)
		}
		if before == scribeVersion(minor) {
			before = ""
		}
	}
	return actPurge, "", ""
}
