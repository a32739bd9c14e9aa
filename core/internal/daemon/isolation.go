package daemon

import (
	"cmp"
	"fmt"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// openSandbox leaves none behind: a sandbox that could not be closed is swept by the next daemon of the data directory.
func (d *daemon) openSandbox() error {
	if d.options.Host == nil {
		return nil
	}
	sandbox, err := isolation.NewSandbox(d.options.Host, d.dataDir)
	if err != nil {
		return fmt.Errorf("isolate modules: %w", err)
	}
	d.sandbox = sandbox
	d.closing(sandbox.Close)
	if level := sandbox.Level(); level != isolation.Full {
		d.log.Warn("modules are not isolated fully", "isolation", level.String(), "fix", "see what is missing: platformd doctor")
	}
	return nil
}

// isolation is the best that a module gets here.
func (d *daemon) isolation() isolation.Level {
	if d.sandbox == nil {
		return isolation.None
	}
	return d.sandbox.Level()
}

// capabilities is what led to that.
func (d *daemon) capabilities() []isolation.Finding {
	if d.sandbox == nil {
		return nil
	}
	return d.options.Host.Findings()
}

// assess says how far a module is kept apart, and why less than others.
func (d *daemon) assess(mod *catalog.Module) (isolation.Level, []string) {
	if d.sandbox == nil {
		return isolation.None, nil
	}
	return d.sandbox.Assess(isolation.Spec{Name: mod.Manifest.Name, Executable: mod.Executable, Dir: mod.Dir})
}

// reportShared logs, once, which modules are kept apart less than the host allows.
func (d *daemon) reportShared() {
	for _, mod := range d.installed().Modules {
		level, notes := d.assess(mod)
		for _, note := range notes {
			d.log.Warn("module shares the user of platformd", "module", mod.Manifest.Name, "isolation", level, "reason", note)
		}
	}
}

// tighten returns the module with the operator's limits in its manifest. They may only be tighter than the author's, who
// knows what the module was tested with; a looser one is a mistake, or meant for another module.
func tighten(mod *catalog.Module, limits config.Limits) (*catalog.Module, error) {
	if limits == (config.Limits{}) {
		return mod, nil
	}
	m := *mod.Manifest
	r := &m.Runtime
	memory, err := tighter("memory", r.Memory, manifest.Size(limits.Bytes()))
	if err != nil {
		return nil, fmt.Errorf("modules.overrides.%s.%w", m.Name, err)
	}
	r.Memory = memory
	if r.CPU, err = tighter("cpu", r.CPU, value(limits.CPU)); err != nil {
		return nil, fmt.Errorf("modules.overrides.%s.%w", m.Name, err)
	}
	if r.PIDs, err = tighter("pids", r.PIDs, manifest.Amount(value(limits.PIDs))); err != nil {
		return nil, fmt.Errorf("modules.overrides.%s.%w", m.Name, err)
	}
	if r.OpenFiles, err = tighter("openFiles", r.OpenFiles, manifest.Amount(value(limits.OpenFiles))); err != nil {
		return nil, fmt.Errorf("modules.overrides.%s.%w", m.Name, err)
	}
	if r.Concurrency, err = tighter("concurrency", r.Concurrency, manifest.Amount(value(limits.Concurrency))); err != nil {
		return nil, fmt.Errorf("modules.overrides.%s.%w", m.Name, err)
	}
	limited := *mod
	limited.Manifest = &m
	return &limited, nil
}

// tighter returns the operator's limit, or the manifest's if there is none.
func tighter[T cmp.Ordered](name string, own, operators T) (T, error) {
	var none T
	switch {
	case operators == none:
		return own, nil
	case operators > own:
		return own, fmt.Errorf("limits.%s %v is above the manifest's %v (fix: set at most that, or remove it)", name, operators, own)
	}
	return operators, nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
