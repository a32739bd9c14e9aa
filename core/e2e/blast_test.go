package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// coreGrowth is what the core's memory may grow by, whatever a module does (G5).
	coreGrowth = 32 << 20
	// noticeable is the least p99 of a neighbour that counts as a disturbance: below it the machine's own noise is larger.
	noticeable = 5 * time.Millisecond
)

// TestSupervisionG5BlastRadius lets one module take all it can get, in several ways: the core's memory stays, a neighbour
// serves as before, and where the module has to be ended its end has a name.
func TestSupervisionG5BlastRadius(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	cases := []struct {
		name, path string
		reason     string // of the module's end; empty: it lives
		ends       bool
	}{
		{"1 GiB of memory", "/api/v1/evil/allocate", "oom", true},
		{"a fork bomb", "/api/v1/evil/fork", "pids", false},
		{"every descriptor", "/api/v1/evil/open", "", false},
		{"a flood of log lines", "/api/v1/evil/flood?ms=2000", "", false},
		{"a flood without line ends", "/api/v1/evil/flood?ms=2000&lines=no", "", false},
		{"replies of 64 MiB", "/api/v1/evil/bulk?bytes=67108864", "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var growth atomic.Int64
			var before, during time.Duration
			report(t, proof{"G5", c.name, 1}, func() string {
				return fmt.Sprintf("core +%d KiB; neighbour p99 %s before, %s during", growth.Load()>>10, before, during)
			})
			p := start(t, options{modules: []string{"hello", "evil"}, env: manyRestarts})
			p.requireLimits("evil")
			before = p.p99(count(1, 3))
			stop := p.sampleRSS(&growth)
			answered := make(chan answer, 1)
			var measured atomic.Bool
			go func() {
				got, _ := p.try(http.MethodPost, c.path, "", "")
				for got.status == http.StatusOK && !measured.Load() { // until the neighbour has been watched for long enough
					got, _ = p.try(http.MethodPost, c.path, "", "")
				}
				answered <- got
			}()
			during = p.p99(count(2, 3))
			measured.Store(true)
			got := <-answered
			stop()
			require.Less(t, growth.Load(), int64(coreGrowth))
			require.LessOrEqual(t, during, max(2*before, bound(noticeable)))
			if c.ends {
				require.Equal(t, http.StatusBadGateway, got.status, got.body)
			} else if c.reason == "" {
				require.Equal(t, http.StatusOK, got.status, got.body)
			}
			if got.status != http.StatusOK { // it may live through a fork bomb, or not: Go gives up where it gets no thread
				require.Contains(t, p.ended(1).Reason, c.reason)
			}
			require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/evil/canceled", "", "").status, "it is back, or still there")
			require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/x", "", "").status)
		})
	}
}

// requireLimits refuses to play with a machine on which nothing bounds the module: a fork bomb would be one.
func (p *platform) requireLimits(module string) {
	p.t.Helper()
	ours := cgroups(p.t, p.cmd.Process.Pid)
	for hierarchy, group := range cgroups(p.t, p.pid(module)) {
		if group == ours[hierarchy] {
			continue // whose limit, if any, is the core's too
		}
		for _, mount := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			most, err := os.ReadFile(filepath.Join(mount, group, "pids.max"))
			if err == nil && strings.TrimSpace(string(most)) != "max" {
				return
			}
		}
	}
	p.t.Skip("this machine lets nobody bound a process: the module is not asked to take all of it")
}

// cgroups returns the cgroup of a process in each hierarchy (cgroups(7), /proc/PID/cgroup).
func cgroups(t *testing.T, pid int) map[string]string {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	require.NoError(t, err)
	groups := map[string]string{}
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		groups[fields[1]] = fields[2]
	}
	return groups
}

// sampleRSS records by how much the core's memory grows, until stop.
func (p *platform) sampleRSS(growth *atomic.Int64) (stop func()) {
	before, quit, done := rss(p.t, p.cmd.Process.Pid), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				growth.Store(max(growth.Load(), rss(p.t, p.cmd.Process.Pid)-before))
			}
		}
	}()
	return func() { close(quit); <-done }
}

// TestSupervisionG12Environment plants a canary, and compares what a module sees with what it may see, to the letter.
func TestSupervisionG12Environment(t *testing.T) {
	t.Parallel()
	report(t, proof{"G12", "variables of the core's environment seen by a module", 1}, nil)
	const canary = "pd-canary-5f1d"
	p := start(t, options{modules: []string{"evil"}, env: []string{
		"AWS_SECRET_ACCESS_KEY=" + canary, "PLATFORMD_LOG_LEVEL=debug", "LD_PRELOAD_X=" + canary, "TZ=Europe/Berlin",
	}})
	var environ []string
	p.do(http.MethodGet, "/api/v1/evil/environ", "", "").decode(t, &environ)
	var names []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		names = append(names, name)
		require.NotContains(t, value, canary)
	}
	require.Subset(t, []string{
		"TZ", "EVIL_MODE", // the manifest asks for them
		"TMPDIR", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "PLATFORMD_LIFELINE_FD", // ours
		"PLATFORMD_MODULE", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_CLIENT_CERT",
		"PLUGIN_UNIX_SOCKET_DIR", "PLUGIN_UNIX_SOCKET_GROUP", // go-plugin's
	}, names)
	require.Contains(t, environ, "TZ=Europe/Berlin")
	seen, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid("evil")))
	require.NoError(t, err)
	require.NotContains(t, string(seen), canary, "nor did it before it could tidy up")
}
