// Package contestant knows who is compared: how each is built, configured and started, and what it cannot do.
//
// It must not measure: it hands out addresses and processes.
package contestant

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/platformd/platformd/scripts/bench/internal/load"
	"github.com/platformd/platformd/scripts/bench/internal/proc"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

const (
	startPatience = 60 * time.Second // until a contestant answers
	startTick     = 20 * time.Millisecond
)

// Baseline is the contestant that those who carry requests are compared with.
const Baseline = "gin"

// BaselineOf names the baseline of a subject for people: with data there is one for each backend, and a guarded route is
// compared with its twin.
func BaselineOf(subject scenario.Subject) string {
	switch subject {
	case scenario.Data:
		return "gin+gorm"
	case scenario.Access:
		return openTwin
	case scenario.Events:
		return rawBroker
	case scenario.Calls:
		return rawCalls
	}
	return Baseline
}

// Contestant is one way to serve the routes of internal/handler, or the sample module blog, to carry events, or calls.
type Contestant struct {
	Name string
	// What says in one line what it is.
	What    string
	Subject scenario.Subject
	// Against is the contestant that it is compared with; itself for a baseline, empty for nobody.
	Against string
	// server tells that it needs a PostgreSQL server, broker that it needs RabbitMQ.
	server, broker bool
	// cannot lists the ids of scenarios that it is not made for.
	cannot []string
	// needs lists the binaries that start uses: keys of builds().
	needs []string
	// tool is a program that must be installed; its package is called the same on Debian.
	tool  string
	start func(ctx context.Context, s *Site, address string) ([]*proc.Process, error)
	// prepare gives it what it needs to be asked, and checks what the answers do not show; nil: nothing.
	prepare func(ctx context.Context, s *Site, r *Running) error
}

// Can tells whether the contestant takes part in a scenario.
func (c *Contestant) Can(s *scenario.Scenario) bool {
	return c.Subject == s.Subject && !slices.Contains(c.cannot, s.ID)
}

// All lists the contestants in the order of the report.
func All() []Contestant {
	all := carriers()
	for i := range all {
		all[i].Against = Baseline
	}
	return slices.Concat(all, twins(), keepers(), messengers(), callers())
}

// carriers bring requests to handlers.
func carriers() []Contestant {
	unary := []string{"sse", "ws"} // one message there, one back
	return []Contestant{
		{Name: Baseline, What: "handlers in gin's own process", needs: []string{"gin"}, start: startGin},
		{
			Name: "link", What: "platformd, module on the link",
			needs: []string{"link"}, start: startPlatform("link", "link"), prepare: speaks("link"),
		},
		{
			Name: "http1", What: "platformd, module on HTTP/1.1",
			needs: []string{"http1"}, start: startPlatform("http1", "http1"), prepare: speaks("http/1.1"),
		},
		{Name: "haproxy", What: "HAProxy → gin on a unix socket", needs: []string{"gin"}, tool: "haproxy", start: startHAProxy},
		{Name: "nginx", What: "nginx → gin on a unix socket", needs: []string{"gin"}, tool: "nginx", start: startNginx},
		{Name: "caddy", What: "Caddy → gin on a unix socket", needs: []string{"gin", "caddy"}, start: startCaddy},
		{
			Name: "grpc", What: "gin → go-plugin, one unary gRPC call per request", cannot: unary,
			needs: []string{"grpc"}, start: startPlugin("grpc"),
		},
		{
			Name: "grafana", What: "gin → grafana-plugin-sdk-go, CallResource", cannot: []string{"ws"},
			needs: []string{"grafana"}, start: startPlugin("grafana"),
		},
		{
			Name: "netrpc", What: "gin → go-plugin over net/rpc, as Mattermost does", cannot: []string{"sse"}, // it cannot flush
			needs: []string{"netrpc"}, start: startPlugin("netrpc"),
		},
	}
}

// Running is a contestant that answers.
type Running struct {
	*Contestant
	load.Target

	Processes []*proc.Process
}

// Start runs a contestant and waits until it answers.
func (s *Site) Start(ctx context.Context, c *Contestant) (*Running, error) {
	address, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	processes, err := c.start(ctx, s, address)
	running := &Running{Contestant: c, Target: load.Target{Address: address}, Processes: processes}
	if err == nil {
		err = running.await(ctx)
	}
	if err == nil && c.prepare != nil {
		err = c.prepare(ctx, s, running)
	}
	if err != nil {
		running.Stop()
		return nil, fmt.Errorf("start the contestant %s: %w", c.Name, err)
	}
	return running, nil
}

// Stop ends the contestant's processes, the one that talks to clients first.
func (r *Running) Stop() {
	for _, p := range slices.Backward(r.Processes) {
		p.Stop()
	}
}

// await waits for the first right answer.
func (r *Running) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(startTick)
	defer tick.Stop()
	for {
		err := r.answers(ctx)
		if err == nil {
			return nil
		}
		for _, p := range r.Processes {
			select {
			case <-p.Exited():
				return fmt.Errorf("it ended; its last words were:\n%s\nfix: what they say, or leave it out with --only", p.Complaint())
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w (fix: give it a quieter machine, or leave it out with --only)", err)
		case <-tick.C:
		}
	}
}

// answers makes the easiest exchange.
func (r *Running) answers(ctx context.Context) error {
	all := scenario.All()
	if r.Subject == scenario.Data { // there is nothing in it yet, and nobody has a token
		return r.Posts().CheckGuard(ctx)
	}
	first := slices.IndexFunc(all, func(s scenario.Scenario) bool { return r.Can(&s) })
	return load.Check(ctx, &all[first], r.Target)
}

// FreeAddress finds a port that nobody listens on. Somebody else may take it before we do; then the start fails.
func FreeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// folder makes a folder for one contestant.
func (s *Site) folder(name string) (string, error) {
	path := filepath.Join(s.Dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", name, err)
	}
	return path, nil
}

// run starts a process of a contestant, in an environment without settings of platformd or of Go's run time.
func (s *Site) run(ctx context.Context, name, path string, args ...string) (*proc.Process, error) {
	return proc.Start(ctx, proc.Spec{Name: name, Path: path, Args: args, Dir: s.Dir, Env: cleanEnv(), Logs: s.Dir})
}

func cleanEnv() []string {
	tuned := []string{"GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG"}
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return strings.HasPrefix(name, "PLATFORMD_") || slices.Contains(tuned, name)
	})
}

// startGin runs the baseline on address.
func startGin(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
	p, err := s.run(ctx, Baseline, s.bin("gin"), address)
	if err != nil {
		return nil, err
	}
	return []*proc.Process{p}, nil
}

// behind runs a gin of its own for a proxy, on the socket gin.sock in the proxy's folder, and then the proxy.
func (s *Site) behind(ctx context.Context, name, path string, args ...string) ([]*proc.Process, error) {
	upstream, err := s.run(ctx, name+"-gin", s.bin("gin"), "unix:"+filepath.Join(s.Dir, name, "gin.sock"))
	if err != nil {
		return nil, err
	}
	started := []*proc.Process{upstream}
	proxy, err := s.run(ctx, name, path, args...)
	if err != nil {
		return started, err
	}
	return append(started, proxy), nil
}

// startPlugin runs a front that launches its own plugin: the same binary again.
func startPlugin(name string) func(context.Context, *Site, string) ([]*proc.Process, error) {
	return func(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
		p, err := s.run(ctx, name, s.bin(name), address)
		if err != nil {
			return nil, err
		}
		return []*proc.Process{p}, nil
	}
}

// write puts a configuration into a contestant's folder.
func write(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fmt.Errorf("write a configuration: %w", err)
	}
	return nil
}
