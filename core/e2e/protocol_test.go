package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// late is in the reason of a start that took too long.
const late = "startTimeout"

// badStarts are the ways in which a module's process breaks the plugin protocol before it is ready, each with what the reason
// must name. It ends in a crash loop, unless a relaunch of the same files would meet the same again.
func badStarts() map[string]string {
	return map[string]string{
		// Without a handshake.
		"exit-silently": "before it printed its handshake line",
		"exit-7":        "before it printed its handshake line",
		"silent":        late,
		"grandchild":    "before it printed its handshake line", // one holds the pipes
		"garbage-line":  "hello, I am not a handshake",
		"terminal-line": `\x1b[2J`, // spelt out, because it is shown on a terminal
		"huge-line":     "over 16384 bytes",
		"half-line":     late,
		"stdout-flood":  "over 16384 bytes",
		"stderr-flood":  late,
		// With one that is refused.
		"empty-fields":    `protocol version ""`,
		"wrong-version":   `speaks protocol version "99", this platformd speaks 1`,
		"netrpc":          "only grpc",
		"tcp":             "only a unix socket in its runtime folder",
		"foreign-socket":  "only a unix socket in its runtime folder",
		"climbing-socket": "only a unix socket in its runtime folder",
		"linked-socket":   "no socket of its runtime folder",
		"no-speech":       late,
		"leave-describe":  "describe: ",
		"hang-describe":   late,
		"hang-init":       late,
		"hang-health":     late,
		"huge-describe":   "larger than max",
		// With answers that are refused.
		"missing-route": "route echo is in module.yaml",
		"extra-route":   "route backdoor, which is not in module.yaml",
		"impostor":      "route greet, which is not in module.yaml",
		"init-fails":    "does not answer",
		"unhealthy":     "no disk space left",
	}
}

// failsForGood tells which of them are not tried again.
func failsForGood(mode string) bool {
	return slices.Contains([]string{"missing-route", "extra-route", "impostor"}, mode)
}

// twin is the name of the module that a mode of the evil module has to itself, so that one platform holds many.
func twin(mode string) string { return "evil_" + strings.ReplaceAll(mode, "-", "_") }

// addTwins lays out one twin of the evil module for each mode.
func addTwins(t *testing.T, dir string, modes []string) {
	t.Helper()
	source := filepath.Join(built, "modules", "evil")
	text, err := os.ReadFile(filepath.Join(source, "module.yaml"))
	require.NoError(t, err)
	for _, mode := range modes {
		name := twin(mode)
		folder := filepath.Join(dir, "modules", name)
		require.NoError(t, os.MkdirAll(filepath.Join(folder, "bin"), 0o755))
		require.NoError(t, os.Link(filepath.Join(source, "bin", "evil"), filepath.Join(folder, "bin", name)))
		named := strings.NewReplacer("name: evil", "name: "+name, "evil.thing", name+".thing", "EVIL_MODE, ", "")
		manifest := named.Replace(string(text))
		if !full() && badStarts()[mode] != late {
			// Dozens of starts at once on a busy machine: the reason is asked for here, how soon in the soak.
			manifest = strings.Replace(manifest, "startTimeout: 5s", "startTimeout: 30s", 1)
		}
		require.NoError(t, os.WriteFile(filepath.Join(folder, "module.yaml"), []byte(manifest), 0o644))
	}
}

// failures are the times at which a module's launches failed.
func (p *platform) failures(module string) (at []time.Time) {
	for _, r := range p.records("the module did not start") {
		if r.Module == module {
			at = append(at, r.Time)
		}
	}
	return at
}

// TestSupervisionG2BadStarts has one platform launch a module for every way to break the plugin protocol, all at once: each
// start ends within its time, with the reason named and its whole tree dead, and a module that behaves is served throughout.
func TestSupervisionG2BadStarts(t *testing.T) {
	t.Parallel()
	cases := badStarts()
	modes := slices.Sorted(maps.Keys(cases))
	var took figures
	report(t, proof{"G2", "bad input in the plugin protocol ends the start", len(modes)}, took.stringer())
	dir := newDir(t, "hello")
	addTwins(t, dir, modes)
	began := time.Now()
	p := launchBinary(t, dir, ownBinary(t, dir), options{env: []string{"PLATFORMD_SUPERVISOR_RESTART_MAX=1"}})
	p.awaitReady()
	p.serves("hello", http.StatusOK)
	for _, mode := range modes {
		took = append(took, p.startEnded(mode, began))
		if full() || cases[mode] == late {
			require.LessOrEqual(t, took[len(took)-1], bound(evilStart+time.Second), mode)
		}
	}
	for _, mode := range modes {
		p.refused(mode, cases[mode])
	}
	require.NotContains(t, p.log.String(), "\x1b[2J", "what a module prints does not reach the operator's terminal raw")
	require.Len(t, below(t, dir), 2, "the core and hello")
	p.nothingIsLeft(modes)
}

// startEnded awaits the end of a twin's launches, and says how long the last one took. The first began with the platform, the
// second at once after it.
func (p *platform) startEnded(mode string, began time.Time) time.Duration {
	p.t.Helper()
	wanted := 2
	if failsForGood(mode) {
		wanted = 1
	}
	var ends []time.Time
	p.await(mode+": its start to fail", func() bool { ends = p.failures(twin(mode)); return len(ends) >= wanted })
	if wanted == 2 {
		began = ends[0]
	}
	return ends[wanted-1].Sub(began)
}

// refused checks what is said of a twin that did not start, stops it, and looks for its processes.
func (p *platform) refused(mode, reason string) {
	p.t.Helper()
	view := p.module(twin(mode))
	if failsForGood(mode) {
		require.Equal(p.t, "failed", view.State, mode)
	} else {
		require.Equal(p.t, "crash_loop", view.State, mode)
	}
	require.Empty(p.t, view.Instances, mode)
	require.Contains(p.t, p.crashes(twin(mode))[0].Reason, reason, mode)
	down := p.do(http.MethodGet, "/api/v1/"+twin(mode)+"/environ", "", "")
	require.Equal(p.t, http.StatusServiceUnavailable, down.status, mode)
	require.NotContains(p.t, down.body, reason, "what a module says is for the operator")
	p.serves("hello", http.StatusOK)

	asked := time.Now()
	p.cli("module", "stop", twin(mode))
	require.LessOrEqual(p.t, time.Since(asked), bound(time.Second), "%s: it has nothing to drain", mode)
	require.Empty(p.t, below(p.t, filepath.Join(p.dir, "modules", twin(mode))), "%s: its tree is dead", mode)
}

// nothingIsLeft starts and stops all the twins once more: what a bad start costs the core, in descriptors, goroutines and
// folders, it gets back.
func (p *platform) nothingIsLeft(modes []string) {
	p.t.Helper()
	descriptorsBefore, goroutinesBefore := descriptors(p.t, p.cmd.Process.Pid), p.goroutines()
	var all sync.WaitGroup
	for _, mode := range modes {
		all.Go(func() {
			_, _, _ = p.tryCLI("module", "start", twin(mode)) // it fails, with what refused has seen
			_, _, _ = p.tryCLI("module", "stop", twin(mode))
		})
	}
	all.Wait()
	few := len(modes) / 4 // what is open by chance, such as connections of ours; not one a start
	var open, running int
	defer func() {
		p.t.Logf("descriptors %d → %d, goroutines %d → %d", descriptorsBefore, open, goroutinesBefore, running)
	}()
	p.await("what the starts took to be free again", func() bool {
		open, running = descriptors(p.t, p.cmd.Process.Pid), p.goroutines()
		return open <= descriptorsBefore+few && running <= goroutinesBefore+few
	})
	folders, err := filepath.Glob(filepath.Join(p.dir, "data/run/*[0-9]")) // of instances; beside each is a file N.json about it
	require.NoError(p.t, err)
	require.Len(p.t, folders, 1, "hello's")
}

// goroutines are those of the core.
func (p *platform) goroutines() int {
	p.t.Helper()
	found := regexp.MustCompile(`(?m)^go_goroutines (\d+)$`).FindStringSubmatch(p.do(http.MethodGet, "/metrics", "", "").body)
	require.Len(p.t, found, 2)
	n, err := strconv.Atoi(found[1])
	require.NoError(p.t, err)
	return n
}

// TestSupervisionG2SlowStart: slow is not bad. A module that needs two of its five seconds becomes ready in one launch.
func TestSupervisionG2SlowStart(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"evil"}, env: []string{"EVIL_MODE=slow-init"}})
	p.pid("evil")
	require.Zero(t, p.module("evil").Restarts)
	require.Empty(t, p.crashes("evil"))
}

// TestSupervisionG2StopOfALaunch stops a module in the middle of its start: when the order returns, the process is dead.
func TestSupervisionG2StopOfALaunch(t *testing.T) {
	t.Parallel()
	rounds := count(5, 50)
	var took figures
	report(t, proof{"G2", "stop of a module that is being launched", rounds}, took.stringer())
	dir := newDir(t, "hello", "evil")
	p := launch(t, dir, options{env: append([]string{"EVIL_MODE=hang-init"}, manyRestarts...)})
	p.awaitReady()
	folder := filepath.Join(dir, "modules", "evil")
	p.cli("module", "stop", "evil") // or what is launched first may be its restart, and the order come after the stop
	for range rounds {
		begun := p.command(t.Context(), "module", "start", "evil")
		require.NoError(t, begun.Start())
		p.await("the launch to begin", func() bool { return len(below(t, folder)) > 0 })
		asked := time.Now()
		p.cli("module", "stop", "evil")
		took = append(took, time.Since(asked))
		require.Empty(t, below(t, folder), "it says that it is stopped")
		require.LessOrEqual(t, time.Since(asked), bound(evilStop+time.Second))
		_ = begun.Wait() // it says that the module was stopped meanwhile
	}
}

// TestSupervisionG2ShutdownAmongEvils ends a platform in which every module resists its end in its own way, all at once.
func TestSupervisionG2ShutdownAmongEvils(t *testing.T) {
	t.Parallel()
	const drain = time.Second
	modes := []string{"deaf", "hang-stop", "hang-drain", "livelocks", "leaves-a-grandchild"}
	rounds := count(1, 20)
	var took figures
	report(t, proof{"G2", "shutdown of a platform of evil modules", rounds}, took.stringer())
	dir := newDir(t, "hello")
	addTwins(t, dir, modes)
	binary := ownBinary(t, dir)
	for range rounds {
		p := launchBinary(t, dir, binary, options{env: []string{"PLATFORMD_SERVER_DRAINTIMEOUT=" + drain.String()}})
		p.awaitReady()
		for _, mode := range modes {
			p.pid(twin(mode))
		}
		for mode, path := range map[string]string{"livelocks": "livelock", "leaves-a-grandchild": "grandchild"} {
			require.Equal(t, http.StatusOK, p.do(http.MethodPost, fmt.Sprintf("/api/v1/%s/%s", twin(mode), path), "", "").status)
		}
		asked := time.Now()
		p.stop()
		took = append(took, time.Since(asked))
		require.LessOrEqual(t, time.Since(asked), bound(drain+evilStop+time.Second))
		require.Empty(t, below(t, dir), "they are dead, whatever they did about it")
		require.NoDirExists(t, filepath.Join(dir, "data", "run"))
	}
}
