package contestant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/platformd/platformd/scripts/bench/internal/proc"
)

// platformConfig leaves everything that a request meets at its default. The budget of restarts is for the measurement of
// starts, which kills the module on purpose.
const platformConfig = `server:
  listen: %s
  drainTimeout: 1s
data:
  dir: %s
modules:
  dir: %s
supervisor:
  restart:
    max: 1000
    window: 1h
database:
  url: %q
events:
  url: %q
  exchange: %q
`

// startPlatform runs a daemon whose module bench is one of our two binaries.
func startPlatform(name, binary string) func(context.Context, *Site, string) ([]*proc.Process, error) {
	return func(ctx context.Context, s *Site, address string) ([]*proc.Process, error) {
		p, err := s.StartPlatform(ctx, Platform{Name: name, Binary: binary, Address: address})
		if err != nil {
			return nil, err
		}
		return []*proc.Process{p.Process}, nil
	}
}

// Platform is a daemon with data and modules of its own.
type Platform struct {
	Name     string // of its folder
	Binary   string // of the module bench: link, http1, events or calls; empty: it is not there
	Address  string
	Samples  []string // which sample modules are there
	Billing  bool     // whether our module that stands for billing is there
	Database string   // the URL of a PostgreSQL database; empty: files
	Broker   string   // the URL of a RabbitMQ server; empty: the bus is embedded
	Exchange string   // the beginning of names there
	*proc.Process
}

// StartPlatform runs a daemon; it does not wait until it is ready.
func (s *Site) StartPlatform(ctx context.Context, p Platform) (*Platform, error) {
	dir, err := s.folder(p.Name)
	if err != nil {
		return nil, err
	}
	modules := filepath.Join(dir, "modules")
	if err := p.install(s, modules); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(platformConfig, p.Address, p.data(s), modules, p.Database, p.Broker, cmp.Or(p.Exchange, "platformd"))
	if err := write(config, text); err != nil {
		return nil, err
	}
	p.Process, err = s.run(ctx, p.Name, s.Platform(), "start", "--config", config)
	return &p, err
}

// install lays out the daemon's modules.
func (p *Platform) install(s *Site, modules string) error {
	if p.Binary != "" {
		manifest := filepath.Join(s.Root, "scripts", "bench", "module", "module.yaml")
		if p.Binary == "events" || p.Binary == "calls" {
			manifest = filepath.Join(s.Root, "scripts", "bench", "module", p.Binary, "module.yaml")
		}
		if err := install(filepath.Join(modules, "bench"), manifest, s.bin(p.Binary)); err != nil {
			return err
		}
	}
	if p.Billing {
		manifest := filepath.Join(s.Root, "scripts", "bench", "module", "billing", "module.yaml")
		if err := install(filepath.Join(modules, "billing"), manifest, s.bin("billing")); err != nil {
			return err
		}
	}
	for _, sample := range p.Samples {
		built := filepath.Join(s.Root, "modules", sample)
		if err := os.CopyFS(filepath.Join(modules, sample), os.DirFS(built)); err != nil {
			return fmt.Errorf("copy the sample module %s: %w (fix: run `make build`)", sample, err)
		}
	}
	return nil
}

// Module is what we read of what the daemon says about a module.
type Module struct {
	State       string `json:"state"`
	Reason      string `json:"reason"`
	StartMillis int64  `json:"start_ms"`
	Instances   []struct {
		PID       int    `json:"pid"`
		Transport string `json:"transport"`
	} `json:"instances"`
}

// PID is the module's process; 0 if there is none.
func (m *Module) PID() int {
	if len(m.Instances) == 0 {
		return 0
	}
	return m.Instances[0].PID
}

// Module asks the daemon about a module.
func (p *Platform) Module(ctx context.Context, s *Site, name string) (*Module, error) {
	out, err := p.command(ctx, s, "module", "show", name, "-o", "json")
	if err != nil {
		return nil, fmt.Errorf("ask platformd about %s: %w", name, err)
	}
	m := &Module{}
	if err := json.Unmarshal(out, m); err != nil {
		return nil, fmt.Errorf("read what platformd says about %s: %w", name, err)
	}
	return m, nil
}

// command runs a command of platformd that talks to the daemon, and returns what it prints.
func (p *Platform) command(ctx context.Context, s *Site, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.Platform(), append([]string{"--data-dir", p.data(s)}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// newToken makes a token that holds the permission, and returns its secret.
func (p *Platform) newToken(ctx context.Context, s *Site, permission string) (string, error) {
	secret, err := p.command(ctx, s, "token", "create", "--permission", permission, "-q")
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return strings.TrimSpace(string(secret)), nil
}

// speaks checks that a contestant's requests travel as its name says: both look the same from outside.
func speaks(transport string) func(context.Context, *Site, *Running) error {
	return func(ctx context.Context, s *Site, r *Running) error {
		m, err := (&Platform{Name: r.Name}).Module(ctx, s, "bench")
		if err != nil {
			return err
		}
		if len(m.Instances) != 1 || m.Instances[0].Transport != transport {
			return fmt.Errorf("its module does not speak %s: %+v (fix: see scripts/bench/module)", transport, m.Instances)
		}
		return nil
	}
}

func (p *Platform) data(s *Site) string { return filepath.Join(s.Dir, p.Name, "data") }

// install lays out a module as `make build` does.
func install(target, manifest, binary string) error {
	if err := os.MkdirAll(filepath.Join(target, "bin"), 0o700); err != nil {
		return fmt.Errorf("install the module: %w", err)
	}
	for from, to := range map[string]string{manifest: "module.yaml", binary: filepath.Join("bin", "bench")} {
		content, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("install the module: %w", err)
		}
		if err := os.WriteFile(filepath.Join(target, to), content, 0o700); err != nil {
			return fmt.Errorf("install the module: %w", err)
		}
	}
	return nil
}
