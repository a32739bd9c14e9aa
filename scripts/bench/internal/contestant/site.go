package contestant

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Site is where a run takes place: a private folder that is removed at its end.
type Site struct {
	Root string // of the repository
	Dir  string // short: sockets live below it
}

// NewSite makes the folder of a run.
func NewSite(root string) (*Site, error) {
	dir, err := os.MkdirTemp("", "pdbench")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the run: %w", err)
	}
	return &Site{Root: root, Dir: dir}, nil
}

// Close removes the folder.
func (s *Site) Close() error { return os.RemoveAll(s.Dir) }

// Generator is the path of cmd/load.
func (s *Site) Generator() string { return s.bin("load") }

// Platform is the path of the daemon, which `make build` leaves in bin.
func (s *Site) Platform() string { return filepath.Join(s.Root, "bin", "platformd") }

func (s *Site) bin(name string) string { return filepath.Join(s.Dir, "bin-"+name) }

// source is a main package: its Go module's folder below scripts/bench, and the package in it.
type source struct{ module, pkg string }

// builds lists what the benchmark builds itself. Peers with many dependencies are Go modules of their own.
func builds() map[string]source {
	return map[string]source{
		"load":    {".", "./cmd/load"},
		"gin":     {".", "./cmd/gin"},
		"link":    {".", "./module/link"},
		"http1":   {".", "./module/http1"},
		"grpc":    {".", "./peers/grpc"},
		"netrpc":  {".", "./peers/netrpc"},
		"caddy":   {"peers/caddy", "."},
		"grafana": {"peers/grafana", "."},
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
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", s.bin(name), from.pkg)
	cmd.Dir = filepath.Join(s.Root, "scripts", "bench", from.module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s\nfix: what it says; if go.mod is out of date: cd %s && GOWORK=off go mod tidy",
			from.pkg, cmd.Dir, err, out, cmd.Dir)
	}
	return nil
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
