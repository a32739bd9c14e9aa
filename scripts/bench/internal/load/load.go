// Package load sends the requests of a scenario to a contestant and counts the answers. HTTP is asked by wrk, streams and
// WebSockets by the program cmd/load: processes of their own, so that what they cost is not the contestant's. Events are
// published, and calls made, by the contestants themselves (eventload, callload), as they are ordered to.
//
// It must not know contestants: it gets an address.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/latency"
	"github.com/platformd/platformd/scripts/bench/internal/posts"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

// slack is what a generator may take beyond its duration, before it is killed.
const slack = 30 * time.Second

// Target is whom to ask.
type Target struct {
	Address string // host:port
	Token   string // for Authorization; empty: none
	Path    string // instead of the scenario's; empty: that
}

// Posts asks the target for posts.
func (t Target) Posts() posts.Client { return posts.Client{Address: t.Address, Token: t.Token} }

// path is what to ask for.
func (t Target) path(s *scenario.Scenario) string {
	if t.Path != "" {
		return t.Path
	}
	return s.Path
}

// Generators knows where the generators are.
type Generators struct {
	Binary  string // cmd/load
	Scripts string // folder with wrk's scripts, as WriteScripts left them
	Threads int    // of wrk; at most one per connection
}

// Run loads the target for d, which must be whole seconds.
func (g *Generators) Run(ctx context.Context, s *scenario.Scenario, to Target, d time.Duration) (latency.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, d+slack)
	defer cancel()
	switch s.Kind {
	case scenario.Publish, scenario.Deliver, scenario.Call:
		return runOrder(ctx, s, to, d)
	case scenario.HTTP:
		out, err := output(exec.CommandContext(ctx, "wrk", g.wrkArgs(s, to, d)...))
		if err != nil {
			return latency.Sample{}, err
		}
		return parseWrk(out)
	}
	kind := map[scenario.Kind]string{scenario.SSE: "sse", scenario.WebSocket: "ws"}[s.Kind]
	out, err := output(exec.CommandContext(ctx, g.Binary, "-kind", kind, "-address", to.Address, "-path", s.Path,
		"-connections", strconv.Itoa(s.Connections), "-duration", d.String()))
	if err != nil {
		return latency.Sample{}, err
	}
	var sample latency.Sample
	if err := json.Unmarshal([]byte(out), &sample); err != nil {
		return latency.Sample{}, fmt.Errorf("read what the load generator counted: %w", err)
	}
	return sample, nil
}

func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w: %s", filepath.Base(cmd.Path), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}
