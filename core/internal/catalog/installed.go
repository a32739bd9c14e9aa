package catalog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/platformd/platformd/core/internal/store"
)

// Installed is a version of a module that came as a package.
type Installed struct {
	Name string
	// Dir is the folder with its files.
	Dir string
	// Err says why it must not run, if it must not.
	Err error
	// Pending are the grants (see Asks) that the operator has not approved of.
	Pending []string
	// Replaces says that a folder of the same name does not count.
	Replaces bool
}

// Shelf is the installed packages.
type Shelf struct {
	Store *store.Store
	// Judge says why a version must not run, although it is what was installed; nil: none is refused.
	Judge func(name string, e store.Entry) error
}

// Chosen returns the versions that platformd.lock chooses, each compared with what was installed.
func (s Shelf) Chosen(ctx context.Context) (all []Installed) {
	entries := s.Store.Entries()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		all = append(all, s.Entered(ctx, name, entries[name]))
	}
	return all
}

// Entered is Chosen for one entry, which platformd.lock need not have yet.
func (s Shelf) Entered(ctx context.Context, name string, e store.Entry) Installed {
	var err error
	if s.Judge != nil {
		err = s.Judge(name, e)
	}
	if err == nil {
		err = s.Store.Verify(ctx, name, e)
	}
	return Installed{Name: name, Dir: s.Store.Dir(name, e.Version), Err: err, Pending: e.Pending, Replaces: e.Replaces}
}

// look makes a candidate of it.
func (i *Installed) look() *candidate {
	c := &candidate{name: i.Name, dir: i.Dir, installed: i, err: i.Err}
	if c.err != nil {
		return c
	}
	root, err := realPath(i.Dir)
	if err != nil {
		c.err = &Error{Code: "unreadable", Err: err, Message: fmt.Sprintf("read what is installed of %s: %v", i.Name, err),
			Fix: "install its package again"}
		return c
	}
	c.real = root
	c.read(root, filepath.Join(i.Dir, manifestFile))
	if c.err == nil && c.m.Name != i.Name {
		c.err = &Error{Code: "name_mismatch", Message: fmt.Sprintf("%s is installed as %s", c.m.Name, i.Name),
			Fix: "install its package again"}
	}
	c.name = i.Name
	return c
}

// withInstalled adds the packages to what was found in folders, and leaves out the folders that they replace.
func withInstalled(found []*candidate, installed []Installed) []*candidate {
	for i := range installed {
		if installed[i].Replaces {
			found = slices.DeleteFunc(found, func(c *candidate) bool { return c.name == installed[i].Name })
		}
	}
	for i := range installed {
		found = append(found, installed[i].look())
	}
	slices.SortStableFunc(found, func(a, b *candidate) int { return cmp.Compare(a.dir, b.dir) })
	return found
}

// refuseUnsigned is for folders, which nobody can have signed.
func refuseUnsigned(found []*candidate) {
	for _, c := range found {
		c.err = &Error{Code: "unsigned",
			Message: fmt.Sprintf("%s is not signed, as modules.requireSigned demands: no folder is", c.dir),
			Fix:     fmt.Sprintf("platformd pack %s, sign the package, and install it; or set modules.requireSigned: false", c.dir)}
	}
}

// withhold has the module do without the grants that are not approved of.
func (m *Module) withhold(pending []string) {
	asks := Asks(m.Manifest)
	m.Pending = slices.DeleteFunc(slices.Clone(pending), func(grant string) bool {
		return !slices.ContainsFunc(asks, func(a Ask) bool { return a.Grant == grant })
	})
	if len(m.Pending) > 0 {
		m.Manifest = without(m.Manifest, m.Pending)
	}
}

// waits is why a module that cannot do without what it waits for is held.
func (m *Module) waits() error {
	if !slices.Contains(m.Pending, grantDatabase) {
		return nil
	}
	name := m.Manifest.Name
	return &Error{Code: "grant_pending", Chain: []string{name},
		Message: fmt.Sprintf("module %s waits for the approval of: %s", name, strings.Join(m.Pending, ", ")),
		Fix:     "see what it asks for: platformd module show " + name + "; then: platformd module approve " + name}
}
