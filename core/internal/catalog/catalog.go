// Package catalog knows the modules on disk: it reads their manifests, checks their files, and computes in which order they
// start and which are held.
//
// Floor 2. It must not run a module or ask whether one runs (instance, supervisor), and must not decide what a refused
// module means for the platform: it says what is wrong and what to do, and goes on with the others.
package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/wire/guard"
)

// Options says what Scan looks at.
type Options struct {
	// Dir is the folder with one folder per module. It need not exist.
	Dir string
	// PlatformVersion is compared with each manifest's requires.platform; empty = not compared.
	PlatformVersion string
	// Installed are the modules that came as packages.
	Installed []Installed
	// RequireSigned refuses all folders: nobody can have signed them.
	RequireSigned bool
}

// Catalog is the modules that are installed. Its methods may be called concurrently, except Refuse.
type Catalog struct {
	// Modules are those that could run, the held ones among them, sorted by name.
	Modules []*Module
	// Problems are the refused ones, sorted by folder.
	Problems []Problem
	// Warnings are about modules that run in spite of them, sorted by name.
	Warnings []Problem

	platform string
	levels   [][]*Module
}

// Module is one module on disk. It must not be modified.
type Module struct {
	Manifest *manifest.Manifest
	// Dir is the module's folder, below Options.Dir as that was given.
	Dir string
	// Executable is the absolute path of the binary, without symbolic links, and SHA256 its checksum in hexadecimal
	// digits. The bytes that are executed later must be compared with it.
	Executable string
	SHA256     string
	// Revision changes with everything that the platform reads of the module: the manifest, the executable, schemas, and files
	// with migrations. What else is in the folder does not count.
	Revision string
	// ConfigSchema is the JSON Schema of the module's configuration, or nil. See ValidateConfig.
	ConfigSchema []byte
	// Publishing judges the events that the module publishes.
	Publishing *guard.Publishing
	// Packaged tells that it came as a package, and Pending which of the grants that it asks for (see Asks) the operator has not
	// approved of: Manifest is without them.
	Packaged bool
	Pending  []string
	// After names the modules that start before this one, sorted: the required ones, and those of the optional ones that
	// are there, fit, and do not wait for this one in turn.
	After []string
	// Held says why the module must not start: a *Error, a *CycleError or several of them joined. nil = it may start.
	Held error

	config  *jsonschema.Resolved
	sources []source
}

// Problem is what is wrong with one module.
type Problem struct {
	// Name is the name that the manifest claims; the folder's if the manifest cannot be read.
	Name string
	Dir  string
	Err  error
}

// Scan reads the folder with the modules. A bad module becomes a Problem; an error is returned only if the folder itself
// cannot be read. A folder that does not exist makes an empty catalog. Names that begin with a dot, files, and folders
// without a module.yaml are none of its business.
func Scan(o Options) (*Catalog, error) {
	c := &Catalog{platform: o.PlatformVersion}
	found, err := folders(o.Dir)
	if err != nil {
		return nil, err
	}
	if o.RequireSigned {
		refuseUnsigned(found)
	}
	c.admit(withInstalled(found, o.Installed))
	c.plan()
	return c, nil
}

// folders looks into the folder with the modules.
func folders(dir string) (found []*candidate, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unusable(dir, err)
	}
	root, err := realPath(dir)
	if err != nil {
		return nil, unusable(dir, err)
	}
	for _, entry := range entries {
		if next := look(root, filepath.Join(dir, entry.Name())); next != nil {
			found = append(found, next)
		}
	}
	return found, nil
}

func unusable(dir string, err error) error {
	return &Error{Code: "modules_dir_unusable", Err: err, Message: fmt.Sprintf("read the modules in %s: %v", dir, err),
		Fix: "make it a folder that platformd may read, or point modules.dir to another one"}
}

// admit sorts the candidates into modules and problems.
func (c *Catalog) admit(found []*candidate) {
	claims := map[string][]string{}
	for _, f := range found {
		claims[f.name] = append(claims[f.name], f.dir)
	}
	for _, f := range found {
		module, err := f.module(claims[f.name])
		if err != nil {
			c.Problems = append(c.Problems, Problem{Name: f.name, Dir: f.dir, Err: err})
			continue
		}
		c.Modules = append(c.Modules, module)
	}
	slices.SortFunc(c.Modules, func(a, b *Module) int { return cmp.Compare(a.Manifest.Name, b.Manifest.Name) })
}

// plan computes the levels, and for each module what it waits for or why it is held.
func (c *Catalog) plan() {
	planned := order(c.nodes(), c.refused())
	c.levels, c.Warnings = nil, nil
	for _, m := range c.Modules {
		name := m.Manifest.Name
		m.Held, m.After = planned.held[name], planned.after[name]
		for _, warning := range planned.warnings[name] {
			c.Warnings = append(c.Warnings, Problem{Name: name, Dir: m.Dir, Err: warning})
		}
	}
	for _, names := range planned.levels {
		level := make([]*Module, len(names))
		for i, name := range names {
			level[i] = c.Get(name)
		}
		c.levels = append(c.levels, level)
	}
}

func (c *Catalog) nodes() map[string]*node {
	nodes := make(map[string]*node, len(c.Modules))
	for _, m := range c.Modules {
		n := &node{name: m.Manifest.Name, version: m.Manifest.Version,
			requires: m.Manifest.Requires.Modules, optional: m.Manifest.Requires.Optional,
			provides: m.Manifest.Services.Provides, consumes: m.Manifest.Services.Consumed()}
		n.unfit = m.waits()
		if c.platform != "" {
			n.unfit = errors.Join(n.unfit, m.Manifest.SupportsPlatform(c.platform))
		}
		nodes[n.name] = n
	}
	return nodes
}

func (c *Catalog) refused() map[string]error {
	refused := make(map[string]error, len(c.Problems))
	for _, p := range c.Problems {
		refused[p.Name] = p.Err
	}
	return refused
}

// Levels returns the order of the start: the modules of a level need only those of the levels before it, and may start at
// the same time. Each module is in the first level that it can be in. Held modules are in none. It must not be modified.
func (c *Catalog) Levels() [][]*Module { return c.levels }

// Get returns the module of that name, held or not, or nil.
func (c *Catalog) Get(name string) *Module {
	i, found := slices.BinarySearchFunc(c.Modules, name, func(m *Module, name string) int {
		return cmp.Compare(m.Manifest.Name, name)
	})
	if !found {
		return nil
	}
	return c.Modules[i]
}

// Dependents returns the modules that require the one of that name, directly or through others, sorted. The one itself
// need not be there.
func (c *Catalog) Dependents(name string) []string {
	found, queue := map[string]bool{}, []string{name}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, m := range c.Modules {
			dependent := m.Manifest.Name
			if _, requires := m.Manifest.Requires.Modules[next]; requires && !found[dependent] {
				found[dependent] = true
				queue = append(queue, dependent)
			}
		}
	}
	delete(found, name) // in a circle, everything requires itself
	return slices.Sorted(maps.Keys(found))
}

// Refuse turns a module into a problem and plans anew: its dependents are held. A name that is not in the catalog changes
// nothing. It must not run at the same time as any other use of the catalog.
func (c *Catalog) Refuse(name string, err error) {
	m := c.Get(name)
	if m == nil {
		return
	}
	c.Modules = slices.DeleteFunc(c.Modules, func(other *Module) bool { return other == m })
	c.Problems = append(c.Problems, Problem{Name: name, Dir: m.Dir, Err: err})
	slices.SortStableFunc(c.Problems, func(a, b Problem) int { return cmp.Compare(a.Dir, b.Dir) })
	c.plan()
}
