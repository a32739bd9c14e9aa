package contestant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/platformd/platformd/scripts/bench/internal/broker"
	"github.com/platformd/platformd/scripts/bench/internal/pgserver"
)

// Site is where a run takes place: a private folder that is removed at its end.
type Site struct {
	Root string // of the repository
	Dir  string // short: sockets live below it

	server *pgserver.Server // nil: there is none
	broker *broker.Server   // nil: there is none
}

// NewSite makes the folder of a run.
func NewSite(root string) (*Site, error) {
	dir, err := os.MkdirTemp("", "pdbench")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the run: %w", err)
	}
	return &Site{Root: root, Dir: dir}, nil
}

// Close removes the folder, and what the run has on servers. Whoever used them must have ended.
func (s *Site) Close() error {
	problems := []error{os.RemoveAll(s.Dir)}
	if s.server != nil {
		problems = append(problems, s.server.Close())
	}
	if s.broker != nil {
		problems = append(problems, s.broker.Close())
	}
	return errors.Join(problems...)
}

// Problem is a server that does not answer.
type Problem struct {
	Server string
	Err    error
}

// Admit looks for the servers that contestants need, and returns those whose is there. If some are not, problems say why.
func (s *Site) Admit(ctx context.Context, contestants []Contestant) (admitted []Contestant, problems []Problem) {
	admitted = slices.Clone(contestants)
	for _, server := range []struct {
		name    string
		needed  func(Contestant) bool
		connect func() error
	}{
		{"PostgreSQL", func(c Contestant) bool { return c.server }, func() (err error) {
			s.server, err = pgserver.Connect(ctx)
			return err
		}},
		{"RabbitMQ", func(c Contestant) bool { return c.broker }, func() (err error) {
			s.broker, err = broker.Connect(ctx)
			return err
		}},
	} {
		if !slices.ContainsFunc(admitted, server.needed) {
			continue
		}
		if err := server.connect(); err != nil {
			admitted = slices.DeleteFunc(admitted, server.needed)
			problems = append(problems, Problem{server.name, err})
		}
	}
	return admitted, problems
}

// Generator is the path of cmd/load.
func (s *Site) Generator() string { return s.bin("load") }

// Platform is the path of the daemon, which `make build` leaves in bin.
func (s *Site) Platform() string { return filepath.Join(s.Root, "bin", "platformd") }

func (s *Site) bin(name string) string { return filepath.Join(s.Dir, "bin-"+name) }

// source is a main package: its Go module's folder below scripts/bench, and the package in it.
type source struct {
	module, pkg string
	// main is what the package's main.go says instead, where it is not ours; replaced names that file below the repository's root.
	main, replaced string
}

// builds lists what the benchmark builds itself. Peers with many dependencies are Go modules of their own.
func builds() map[string]source {
	return map[string]source{
		"load":      {module: ".", pkg: "./cmd/load"},
		"gin":       {module: ".", pkg: "./cmd/gin"},
		"link":      {module: ".", pkg: "./module/link"},
		"http1":     {module: ".", pkg: "./module/http1"},
		"grpc":      {module: ".", pkg: "./peers/grpc"},
		"netrpc":    {module: ".", pkg: "./peers/netrpc"},
		"billing":   {module: ".", pkg: "./module/billing"},
		"events":    {module: ".", pkg: "./module/events"},
		"calls":     {module: ".", pkg: "./module/calls"},
		"grpcgo":    {module: ".", pkg: "./peers/grpcgo"},
		"amqp091":   {module: ".", pkg: "./peers/amqp091"},
		"watermill": {module: ".", pkg: "./peers/watermill"},
		"caddy":     {module: "peers/caddy", pkg: "."},
		"grafana":   {module: "peers/grafana", pkg: "."},
		"gorm": {
			module: ".", pkg: "github.com/platformd/platformd/plugins/blog",
			main: embeddedMain, replaced: "plugins/blog/main.go",
		},
	}
}

// Build compiles what the contestants need; what did not change comes from Go's cache.
func (s *Site) Build(ctx context.Context, contestants []Contestant) error {
	names := []string{"load"}
	for _, c := range contestants {
		names = append(names, c.needs...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := s.build(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Site) build(ctx context.Context, name string) error {
	from := builds()[name]
	overlay, err := s.overlay(name, from)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-overlay", overlay, "-o", s.bin(name), from.pkg)
	cmd.Dir = filepath.Join(s.Root, "scripts", "bench", from.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s\nfix: what it says; if go.mod is out of date: cd %s && GOWORK=off go mod tidy",
			from.pkg, cmd.Dir, err, out, cmd.Dir)
	}
	return nil
}

// overlay tells the compiler which file to take for another; the result is the path of what says so, empty if none.
func (s *Site) overlay(name string, from source) (string, error) {
	if from.main == "" {
		return "", nil
	}
	instead := filepath.Join(s.Dir, name+"-main.go")
	text, err := json.Marshal(map[string]any{
		"Replace": map[string]string{filepath.Join(s.Root, filepath.FromSlash(from.replaced)): instead},
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.Dir, name+"-overlay.json")
	return path, errors.Join(write(instead, from.main), write(path, string(text)))
}

// CheckTools says what must be installed before the contestants can run.
func (s *Site) CheckTools(contestants []Contestant) error {
	problems := []error{installed("wrk")}
	for _, c := range contestants {
		if c.tool != "" {
			problems = append(problems, installed(c.tool))
		}
	}
	if _, err := os.Stat(s.Platform()); err != nil {
		problems = append(problems, fmt.Errorf("the daemon is missing: %w (fix: run `make build`)", err))
	}
	return errors.Join(problems...)
}

func installed(tool string) error {
	if _, err := exec.LookPath(tool); err != nil {
		return fmt.Errorf("%s is not installed (fix: apt-get install %s, or choose contestants with --only)", tool, tool)
	}
	return nil
}
