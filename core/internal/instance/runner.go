package instance

import (
	"context"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin/runner"
)

var _ runner.Runner = (*process)(nil)

// Wait implements runner.Runner.
func (p *process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill implements runner.Runner. It returns when the process is reaped.
func (p *process) Kill(ctx context.Context) error {
	if p.ID() == "" {
		return nil
	}
	p.kill()
	return p.Wait(ctx)
}

// Stdout implements runner.Runner: the handshake line, checked.
func (p *process) Stdout() io.ReadCloser { return p.handshake }

// Stderr implements runner.Runner. It stays silent until the process ends: go-plugin's reader panics on some lines, so we
// read the real one.
func (p *process) Stderr() io.ReadCloser { return p.stderr }

// Name implements runner.Runner.
func (p *process) Name() string { return p.spec.Name }

// ID implements runner.Runner.
func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return ""
	}
	return strconv.Itoa(p.pid)
}

// Diagnose implements runner.Runner; what we know is reported by explain.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.AddrTranslator.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// inside says whether path, as spelled, is below dir.
func inside(path, dir string) bool {
	return filepath.Clean(path) == path && strings.HasPrefix(path, dir+string(filepath.Separator))
}
