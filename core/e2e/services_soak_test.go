package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// callRate is how many requests a second call the other module.
const callRate = 300

// calling is a platform on which the blog calls billing for each request of a load.
type calling struct {
	*platform
	*load
}

func newCalling(t *testing.T) *calling {
	t.Helper()
	within, env := 2*time.Second, manyRestarts
	if !full() { // others use the machine
		t.Parallel()
		within, env = patience, append([]string{"PLATFORMD_SERVER_HOLDTIMEOUT=30s"}, manyRestarts...)
	}
	p := start(t, options{modules: []string{"billing", "blog"}, env: env})
	token := p.token("blog.post.create")
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/blog/allowance", token, "").status)
	l := &load{rate: callRate, within: within}
	return &calling{p, p.begin(l, "/api/v1/blog/allowance", "Authorization: Bearer "+token)}
}

// awaitLoad waits for a fifth of a second's load.
func (c *calling) awaitLoad() {
	c.platform.t.Helper()
	served := c.served.Load()
	c.await("load on the modules", func() bool { return c.served.Load() > served+callRate/5 || c.failed.Load() > 0 })
	require.Zero(c.platform.t, c.failed.Load())
}

// finish ends the load: nothing has failed, and each request was a call.
func (c *calling) finish() (figures string) {
	t := c.platform.t
	t.Helper()
	c.end()
	require.Zero(t, c.failed.Load(), "of %d", c.served.Load())
	calls := c.counted("platformd_module_calls_total", `code="OK"`)
	require.GreaterOrEqual(t, calls, c.served.Load())
	return fmt.Sprintf("%d requests, %d calls, %d made again, slowest answer %s", c.served.Load(), calls,
		c.counted("platformd_module_call_retries_total", ""), time.Duration(c.slowest.Load()).Round(time.Millisecond))
}

// counted reads what a counter says of the calls.
func (c *calling) counted(name, label string) int64 {
	t := c.platform.t
	t.Helper()
	metrics := c.do(http.MethodGet, "/metrics", "", "").body
	line := regexp.MustCompile(`(?m)^` + name + `\{callee="billing",caller="blog",?` + label + `\} ([0-9.e+]+)$`)
	found := line.FindStringSubmatch(metrics)
	require.NotNil(t, found, "%s is not among the metrics", name)
	value, err := strconv.ParseFloat(found[1], 64)
	require.NoError(t, err)
	return int64(value)
}

// TestServicesG6KilledCallee kills the module that another one calls, again and again, and no client is told.
func TestServicesG6KilledCallee(t *testing.T) {
	kills := count(5, 100)
	var said string
	report(t, proof{"G6", "kill -9 of a module that 300 requests a second call, none failed", kills}, func() string { return said })
	c := newCalling(t)
	pid := c.pid("billing")
	for range kills {
		c.awaitLoad()
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		before := pid
		c.await("the next process", func() bool {
			view := c.module("billing")
			if view.State != "ready" || len(view.Instances) != 1 {
				return false
			}
			pid = view.Instances[0].PID
			return pid != before
		})
	}
	c.awaitLoad()
	said = c.finish()
	require.GreaterOrEqual(t, c.module("billing").Restarts, kills)
}

// TestServicesG6RestartedModules renews the module that is called, and then the one that calls: calls in progress are finished.
func TestServicesG6RestartedModules(t *testing.T) {
	restarts := count(5, 50)
	for _, module := range []string{"billing", "blog"} {
		t.Run(module, func(t *testing.T) {
			var said string
			report(t, proof{"G6", "restart of " + module + " under 300 calls a second, none failed", restarts},
				func() string { return said })
			c := newCalling(t)
			for range restarts {
				c.awaitLoad()
				c.cli("module", "restart", module)
			}
			c.awaitLoad()
			said = c.finish()
			require.Zero(t, c.module(module).Restarts, "a restart is no crash")
		})
	}
}
