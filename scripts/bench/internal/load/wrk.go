package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// marker begins the line that our script makes wrk print.
const marker = "counted:"

// script tells wrk what to send, and to print what it counted in a form that is made for reading: requests, duration, p50 and
// p99 in microseconds, then errors of the sockets, of the status, and timeouts.
const script = `wrk.method = %q
%s
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("` + marker + ` %%d %%d %%d %%d %%d %%d %%d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write, e.status, e.timeout))
end
`

// WriteScripts puts wrk's scripts for the scenarios into folder.
func WriteScripts(folder string, scenarios []scenario.Scenario) error {
	for _, s := range scenarios {
		content := fmt.Sprintf(script, s.Method, bodyOf(&s))
		if err := os.WriteFile(filepath.Join(folder, s.ID+".lua"), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write wrk's script: %w", err)
		}
	}
	return nil
}

// bodyOf says in Lua what requests carry. Lua reads what Go quotes, as long as it is ASCII.
func bodyOf(s *scenario.Scenario) string {
	switch {
	case s.Body != "":
		return fmt.Sprintf("wrk.body = %q\nwrk.headers['Content-Type'] = 'application/json'", s.Body)
	case s.BodySize > 0:
		return fmt.Sprintf("wrk.body = string.rep('x', %d)\nwrk.headers['Content-Type'] = 'application/octet-stream'", s.BodySize)
	}
	return ""
}

// requestTimeout is when wrk calls a request overdue. Its default of 2 s is no time for an upload to a slow contestant.
const requestTimeout = 10 * time.Second

func (g *Generators) wrkArgs(s *scenario.Scenario, to Target, d time.Duration) []string {
	args := []string{
		"--threads", strconv.Itoa(max(1, min(g.Threads, s.Connections))),
		"--connections", strconv.Itoa(s.Connections),
		"--duration", fmt.Sprintf("%ds", int(d.Seconds())),
		"--timeout", fmt.Sprintf("%ds", int(requestTimeout.Seconds())),
		"--script", filepath.Join(g.Scripts, s.ID+".lua"),
	}
	if to.Token != "" {
		args = append(args, "--header", "Authorization: Bearer "+to.Token)
	}
	return append(args, "http://"+to.Address+to.path(s))
}

// parseWrk reads the line of our script.
func parseWrk(out string) (latency.Sample, error) {
	_, rest, found := strings.Cut(out, marker)
	if !found {
		return latency.Sample{}, fmt.Errorf("wrk did not say what it counted: %q (fix: install wrk 4 with Lua, such as Debian's)", out)
	}
	line, _, _ := strings.Cut(rest, "\n")
	fields := strings.Fields(line)
	if len(fields) != 7 {
		return latency.Sample{}, fmt.Errorf("wrk counted %q, which has not 7 numbers", line)
	}
	numbers := make([]int, len(fields))
	var problems []error
	for i, field := range fields {
		n, err := strconv.Atoi(field)
		numbers[i], problems = n, append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return latency.Sample{}, fmt.Errorf("read what wrk counted: %w", err)
	}
	micros := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
	broken, failed, overdue := numbers[4], numbers[5], numbers[6]
	sample := latency.Sample{
		Requests: max(0, numbers[0]-failed), // wrk counts an answer with a bad status as answered, too
		Elapsed:  micros(numbers[1]), P50: micros(numbers[2]), P99: micros(numbers[3]),
		Errors: broken + failed + overdue,
	}
	if sample.Errors > 0 {
		sample.Problem = fmt.Sprintf("%d broken connections, %d answers other than 2xx and 3xx, %d overdue", broken, failed, overdue)
	}
	return sample, nil
}
