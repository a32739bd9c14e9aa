package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/logs"
	"github.com/platformd/platformd/core/internal/sqlfiles"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// errDisabled is the operator's wish, not a failure.
var errDisabled = errors.New("it is disabled")

// openLauncher makes what starts modules' processes.
func (d *daemon) openLauncher(context.Context) error {
	dir, err := runDir(d.dataDir)
	if err != nil {
		return err
	}
	if err := d.openSandbox(); err != nil {
		return err
	}
	launcher, err := instance.NewLauncher(dir, d.log.Named("launch"), d.sandbox)
	if err != nil {
		return err
	}
	d.closing(launcher.Close)
	d.launcher = launcher
	return nil
}

func (d *daemon) openSupervisor(context.Context) error {
	d.supervisor = supervisor.New(supervisor.Deps{
		Launcher:     d.launcher,
		Registry:     d.registry,
		Log:          d.log.Named("supervisor"),
		Migrate:      d.migrate,
		Database:     d.lend,
		Services:     d.services,
		Calls:        d.serveCalls,
		Publications: d.publications,
		Agree:        d.agree,
		Verify:       d.verify,
		Output:       d.output,
		Changed:      d.moduleChanged,
		LogTail: func(module string, n int) []logs.Entry {
			return d.logs.Store.Tail(logs.Filter{Module: module, N: n})
		},
		CrashDir: filepath.Join(d.dataDir, "crashes"),
		Random:   rand.Float64,
	})
	return nil
}

// resolve applies config.yaml to the catalog, and returns the modules that may start.
func (d *daemon) resolve() []*supervisor.Module {
	now := d.installed()
	resolved := d.survey(now)
	for _, mod := range now.Modules {
		d.learn(mod)
	}
	put, _ := d.gateway.Prepare(now.Modules, unavailable(now))
	put()
	d.reportRefused()
	d.reportShared()
	var modules []*supervisor.Module
	for _, level := range now.Levels() {
		for _, mod := range level {
			modules = append(modules, resolved[mod.Manifest.Name])
		}
	}
	return modules
}

// survey refuses those modules of a catalog, which nobody else uses yet, that config.yaml, the operator or the routes leave no
// place for, and returns the others as they are to be run.
func (d *daemon) survey(found *catalog.Catalog) map[string]*supervisor.Module {
	resolved := make(map[string]*supervisor.Module)
	for _, mod := range slices.Clone(found.Modules) { // Refuse changes it
		name := mod.Manifest.Name
		ready, err := d.resolveModule(mod)
		if err != nil {
			found.Refuse(name, err)
			continue
		}
		resolved[name] = ready
	}
	_, conflicts := d.gateway.Prepare(found.Modules, unavailable(found))
	for name, conflict := range conflicts {
		found.Refuse(name, conflict)
	}
	return resolved
}

// unavailable says why the modules are not served that a catalog refuses.
func unavailable(c *catalog.Catalog) map[string]string {
	reasons := make(map[string]string, len(c.Problems))
	for _, problem := range c.Problems {
		reasons[problem.Name] = problem.Err.Error()
	}
	return reasons
}

// learn has authz know a module's permissions, in place of those that it had. The manifest's own rules leave nothing to refuse.
func (d *daemon) learn(mod *catalog.Module, also ...manifest.Permission) {
	m := mod.Manifest
	known := slices.Clone(m.Permissions)
	for _, p := range also {
		if !slices.ContainsFunc(known, func(have manifest.Permission) bool { return have.Name == p.Name }) {
			known = append(known, p)
		}
	}
	if err := d.permissions.Set(m.Name, known); err != nil {
		d.log.Error("the permissions of a module are not known", "module", m.Name, "error", err)
	}
}

// reportRefused logs what will not start, and tells whoever asks the registry.
func (d *daemon) reportRefused() {
	for _, problem := range d.installed().Problems {
		d.log.Error("module refused", "module", problem.Name, "dir", problem.Dir, "error", problem.Err)
		d.registry.Remove(problem.Name, problem.Err.Error(), false)
	}
	for _, warning := range d.installed().Warnings {
		d.log.Warn("module", "module", warning.Name, "warning", warning.Err)
	}
	for _, mod := range d.installed().Modules {
		if len(mod.Pending) > 0 {
			d.log.Warn("a module does without what it asks for, until that is approved", "module", mod.Manifest.Name,
				"pending", mod.Pending, "fix", "platformd module approve "+mod.Manifest.Name)
		}
		if mod.Held != nil {
			d.log.Error("module held", "module", mod.Manifest.Name, "error", mod.Held)
			d.registry.Remove(mod.Manifest.Name, mod.Held.Error(), false)
		}
	}
}

func (d *daemon) resolveModule(mod *catalog.Module) (*supervisor.Module, error) {
	m := mod.Manifest
	override := d.config.Modules.Overrides[m.Name]
	if err := d.disabled(m.Name); err != nil {
		return nil, err
	}
	settings, err := mod.ValidateConfig(override.Config)
	if err != nil {
		return nil, fmt.Errorf("modules.overrides.%s.config: %w", m.Name, err)
	}
	mod, err = tighten(mod, override.Limits)
	if err != nil {
		return nil, err
	}
	resolved := &supervisor.Module{
		Module: mod, Config: settings, Budget: d.budget(mod, override), Env: environment(m.Runtime.Env),
		Attach: slices.Contains(d.options.Attach, m.Name),
	}
	if m.Grants.Database {
		resolved.Data = d.storage.Folder(m.Name)
	}
	if m.Migrations == manifest.MigrationsSQL {
		resolved.SQL, err = sqlfiles.Load(mod.Dir, d.storage.Module(m.Name).Driver)
	}
	return resolved, err
}

// budget: the operator's override wins over the manifest, which wins over supervisor.restart.
func (d *daemon) budget(mod *catalog.Module, override config.Override) supervisor.Budget {
	restart := d.config.Supervisor.Restart
	if own := mod.Manifest.Runtime.Restart; own != nil {
		restart = config.Restart{Max: own.Max, Window: own.Window.Std()}
	}
	restart = override.Restart.Apply(restart)
	return supervisor.Budget{Max: restart.Max, Window: restart.Window}
}

// environment is the part of our environment that a manifest asks for by name.
func environment(names []string) []string {
	var entries []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			entries = append(entries, name+"="+value)
		}
	}
	return entries
}

func (d *daemon) installedVersion(module string) string {
	if mod := d.installed().Get(module); mod != nil {
		return mod.Manifest.Version
	}
	return ""
}

// output makes log records of what a module prints.
func (d *daemon) output(module string) io.WriteCloser {
	throttle, _ := d.throttles.LoadOrStore(module, logs.NewThrottle())
	return logs.NewModuleWriter(d.log.Named("module."+module), throttle.(*logs.Throttle)) //nolint:errcheck // holds no other
}
