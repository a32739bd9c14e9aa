package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// below returns the processes whose executable lies below dir: a platform's own and all that came of them, whatever session
// or namespace they are in.
func below(t *testing.T, dir string) (pids []int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		require.NoError(t, err)
		if strings.HasPrefix(executableOf(pid), dir+"/") && alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// executableOf is the path that a process's executable was read from; empty for one that is ending. A module is executed from
// memory, and its first argument says what that was.
func executableOf(pid int) string {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	path, err := os.Readlink(filepath.Join(proc, "exe"))
	if err == nil && strings.HasPrefix(path, "/memfd:") {
		var line []byte
		line, err = os.ReadFile(filepath.Join(proc, "cmdline"))
		path, _, _ = strings.Cut(string(line), "\x00")
	}
	if err != nil {
		return ""
	}
	return path
}

// ownBinary puts the daemon into a platform's folder, so that below finds it and nobody else's. A link, not a copy: what has just
// been written cannot be executed as long as a process that another test is starting holds it, between fork and exec.
func ownBinary(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(dir, "platformd")
	require.NoError(t, os.Link(filepath.Join(built, "platformd"), binary))
	return binary
}

// records are the records of the daemon's log with the given message, with the time of each.
func (p *platform) records(message string) (found []record) {
	p.t.Helper()
	for line := range strings.Lines(p.log.String()) {
		var r record
		if json.Unmarshal([]byte(line), &r) == nil && r.Message == message {
			found = append(found, r)
		}
	}
	return found
}

// record is what the tests read of a record of the log.
type record struct {
	Time    time.Time `json:"@timestamp"`
	Message string    `json:"@message"`
	Module  string    `json:"module"`
	Reason  string    `json:"reason"`
}

// ended awaits the n-th record that a process of a module ended, counted from 1.
func (p *platform) ended(n int) record {
	p.t.Helper()
	var all []record
	p.await("the end of a process to be noticed", func() bool {
		all = p.records("the module's process ended")
		return len(all) >= n
	})
	return all[n-1]
}

// descriptors counts the open files of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	require.NoError(t, err)
	return len(entries)
}

// crashView is what the tests read of `module crashes -o json`.
type crashView struct {
	PID      int    `json:"pid"`
	Reason   string `json:"reason"`
	Exit     string `json:"exit"`
	Uptime   int64  `json:"uptime_ms"`
	InFlight int64  `json:"in_flight"`
	Log      []struct {
		Message string `json:"message"`
	} `json:"log"`
}

func (p *platform) crashes(module string) (crashes []crashView) {
	p.t.Helper()
	require.NoError(p.t, json.Unmarshal([]byte(p.cli("module", "crashes", module, "-o", "json")), &crashes))
	return crashes
}

// appendRuntime adds lines to a module's manifest, which ends with its section runtime.
func appendRuntime(t *testing.T, dir, module, lines string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, "modules", module, "module.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(lines)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

// TestSupervisionG26DegradedAloneIsNamed: a module whose route needs one that is stopped serves the rest, and /readyz, status and
// module show name the route and the chain.
func TestSupervisionG26DegradedAloneIsNamed(t *testing.T) {
	t.Parallel()
	report(t, proof{"G26", "a stopped module, its dependent's routes, everybody else", 1}, nil)
	p := start(t, options{modules: []string{"hello", "evil", "billing"}})
	p.cli("module", "stop", "hello")
	needy := p.do("GET", "/api/v1/evil/needy", "", "")
	require.Equal(t, 503, needy.status)
	require.Contains(t, needy.body, "evil needs hello")
	require.Equal(t, 200, p.do("GET", "/api/v1/evil/canceled", "", "").status)
	require.Equal(t, 401, p.do("GET", "/api/v1/billing/plans", "", "").status, "billing asks who it is, so it is there")
	for _, text := range []string{
		p.do("GET", "/readyz?verbose", "", "").body, p.cli("module", "show", "evil"), p.cli("status"),
	} {
		require.Contains(t, text, "needs hello")
	}
	require.Equal(t, 200, p.do("GET", "/readyz", "", "").status, "nobody requires hello")
	p.cli("module", "start", "hello")
	require.Equal(t, 200, p.do("GET", "/api/v1/evil/needy", "", "").status)
	require.NotContains(t, p.cli("status"), "needs hello")
}

// TestCrashesAreKept: how a module's processes ended, with the log before it, also after a restart of the platform.
func TestCrashesAreKept(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "evil")
	p := launch(t, dir, options{env: manyRestarts})
	p.awaitReady()
	require.Contains(t, p.cli("module", "crashes", "evil")+"-", "-", "nothing yet is no error")
	for range 6 {
		require.Equal(t, 500, p.do("GET", "/api/v1/evil/panic", "", "").status)
		pid := p.pid("evil")
		require.Equal(t, 502, p.do("GET", "/api/v1/evil/crash", "", "").status)
		p.await("another process", func() bool { return len(p.module("evil").Instances) == 1 && p.pid("evil") != pid })
	}
	p.await("the last crash", func() bool { return len(p.crashes("evil")) == 5 })
	p.stop()
	again := launch(t, dir, options{})
	again.awaitReady()
	kept := again.crashes("evil")
	require.Len(t, kept, 5)
	require.Equal(t, "exit 2", kept[0].Reason)
	require.NotZero(t, kept[0].PID)
	logged := ""
	for _, entry := range kept[0].Log {
		logged += entry.Message + "\n"
	}
	require.Contains(t, logged, "handler failed", "what it logged before")
	require.Contains(t, again.cli("module", "crashes", "evil"), "exit 2")
}
