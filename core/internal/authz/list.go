package authz

import (
	"cmp"
	"context"
	"slices"
)

// Roles returns all roles, sorted by name, as they are now: those that were made, and those that manifests name.
func (s *Service) Roles(ctx context.Context) ([]Role, error) {
	index, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	return index.roles(), nil
}

// now is the index of this moment.
func (s *Service) now(ctx context.Context) (*index, error) {
	if err := s.Refresh(ctx); err != nil {
		return nil, err
	}
	return s.view.Load().index, nil
}

// Orphans are patterns of roles that cover no permission of any module that is installed, and roles that allow nothing for that
// reason or another. They count again when the module comes back.
type Orphans struct {
	Patterns []OrphanPattern `json:"permissions"`
	Roles    []string        `json:"roles"`
}

// OrphanPattern is a pattern, and the role that has it.
type OrphanPattern struct {
	Role    string `json:"role"`
	Pattern string `json:"pattern"`
}

// Orphans finds what has lost its meaning.
func (s *Service) Orphans(ctx context.Context) (Orphans, error) {
	found := Orphans{Patterns: []OrphanPattern{}, Roles: []string{}}
	roles, err := s.Roles(ctx)
	for _, role := range roles {
		useful := false
		for _, p := range role.Patterns {
			useful = useful || !p.Orphan
			if p.Orphan {
				found.Patterns = append(found.Patterns, OrphanPattern{Role: role.Name, Pattern: p.Pattern})
			}
		}
		if !useful {
			found.Roles = append(found.Roles, role.Name)
		}
	}
	return found, err
}

func (x *index) roles() []Role {
	all := make(map[string]*Role)
	for _, row := range x.tables.roles {
		all[row.Name] = &Role{Name: row.Name, Description: row.Description, BuiltIn: row.Name == Admin, Patterns: []RolePattern{}}
	}
	for name, patterns := range x.powers.held {
		if all[name] == nil {
			all[name] = &Role{Name: name, Description: "From the manifest of " + patterns[0].Module, BuiltIn: name == Admin}
		}
		all[name].Patterns = x.marked(patterns)
	}
	for _, row := range x.tables.patterns {
		if role := all[row.Role]; role != nil && !row.Granted && x.powers.givenByManifest(row) {
			role.Revoked = append(role.Revoked, row.Pattern)
		}
	}
	x.tables.countHolders(all)
	return byName(all)
}

// givenByManifest reports whether the role would have something of the pattern if it had not been revoked.
func (w *powers) givenByManifest(row patternRow) bool {
	from, to := w.covered(row.Pattern)
	return slices.ContainsFunc(w.all[from:to], func(p Permission) bool { return slices.Contains(p.Roles, row.Role) })
}

// marked says which patterns are orphans. What held returned is shared, and stays as it is.
func (x *index) marked(patterns []RolePattern) []RolePattern {
	patterns = slices.Clone(patterns)
	for i := range patterns {
		from, to := x.powers.covered(patterns[i].Pattern)
		patterns[i].Orphan = from == to
	}
	return patterns
}

// countHolders counts an assignment once, however many sources it has.
func (t *tables) countHolders(all map[string]*Role) {
	seen := make(map[assignmentRow]bool, len(t.assignments))
	for _, a := range t.assignments {
		role := all[a.Role]
		if role == nil || seen[a] {
			continue
		}
		seen[a] = true
		if a.Kind == kindUser {
			role.Users++
		} else {
			role.Groups++
		}
	}
}

func byName(all map[string]*Role) []Role {
	list := make([]Role, 0, len(all))
	for _, role := range all {
		slices.Sort(role.Revoked)
		list = append(list, *role)
	}
	slices.SortFunc(list, func(a, b Role) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
