// Package authz knows which permissions there are, which roles give them and who has those roles, and decides who may do what.
// What nothing allows is denied; so is everything while it cannot know.
//
// Floor 2. It must not know who its users are (identity), how a caller proves to be one (auth) or which route needs what
// (gateway): a user is an id to it.
package authz

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// Permission is something a caller may hold, as a module declared it.
type Permission struct {
	Name        string   `json:"name"` // module.resource.action
	Module      string   `json:"module"`
	Description string   `json:"description"`
	Roles       []string `json:"roles,omitempty"` // roles that hold it from the beginning
}

// Registry holds the permissions of the modules that are installed. It is safe for concurrent use. The zero value is not
// usable; NewRegistry makes one.
type Registry struct {
	mu       sync.RWMutex
	byModule map[string][]Permission
	watchers []func()
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry { return &Registry{byModule: make(map[string][]Permission)} }

// Set makes perms the permissions of module, in place of those it had. A module owns the names that begin with its own and
// a dot, and no others, so that no two modules can claim one. On an error nothing changes.
func (r *Registry) Set(module string, perms []manifest.Permission) error {
	list := make([]Permission, 0, len(perms))
	for _, p := range perms {
		switch {
		case !validName.MatchString(p.Name):
			return fmt.Errorf("module %s: %q is not a permission (fix: name it %s.RESOURCE.ACTION)", module, p.Name, module)
		case !strings.HasPrefix(p.Name, module+"."):
			return fmt.Errorf("module %s: the permission %s belongs to another module (fix: name it %s.RESOURCE.ACTION)",
				module, p.Name, module)
		case slices.ContainsFunc(list, func(have Permission) bool { return have.Name == p.Name }):
			return fmt.Errorf("module %s: the permission %s is declared twice (fix: remove one of the two)", module, p.Name)
		}
		list = append(list, Permission{
			Name: p.Name, Module: module, Description: p.Description, Roles: slices.Clone(p.Roles),
		})
	}
	r.change(func() { r.byModule[module] = list })
	return nil
}

// Remove takes a module's permissions out. What roles and tokens hold stays as it is, and counts again if the module comes back.
func (r *Registry) Remove(module string) {
	r.change(func() { delete(r.byModule, module) })
}

// change returns when the watchers have seen the change.
func (r *Registry) change(work func()) {
	r.mu.Lock()
	work()
	watchers := r.watchers
	r.mu.Unlock()
	for _, seen := range watchers {
		seen()
	}
}

// watch has f called after every change from now on. f may be called by several at once.
func (r *Registry) watch(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers = append(slices.Clip(r.watchers), f)
}

// Declared reports whether a module has declared the permission.
func (r *Registry) Declared(permission string) bool {
	module, _, _ := strings.Cut(permission, ".")
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.ContainsFunc(r.byModule[module], func(p Permission) bool { return p.Name == permission })
}

// All returns every permission, sorted by name. The list is the caller's, what its Roles point to is shared: do not change it.
func (r *Registry) All() []Permission {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := []Permission{}
	for _, list := range r.byModule {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b Permission) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// segment is the rule of the manifest for one part of a permission's name.
const segment = `[a-z][a-z0-9_]*`

// validName is a permission's name: module, resource, action.
var validName = regexp.MustCompile(`^` + segment + `\.` + segment + `\.` + segment + `$`)
