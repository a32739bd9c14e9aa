package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// Bindings is what roles and people have through a module.
type Bindings struct {
	// Patterns are granted or taken away, and cover nothing but the module's permissions.
	Patterns []Binding `json:"patterns"`
	// Roles were taken over from the module's manifest, and nothing else gives them anything: they go with the module.
	Roles       []string     `json:"roles"`
	Assignments []Assignment `json:"assignments"` // of those roles
}

// Binding is a pattern that a role was given, or that was taken from it.
type Binding struct {
	Role    string `json:"role"`
	Pattern string `json:"pattern"`
	Granted bool   `json:"granted"`
}

// Bindings returns what Purge would remove.
func (s *Service) Bindings(ctx context.Context, module string) (b Bindings, err error) {
	b, err = s.bindings(s.db.WithContext(ctx), module)
	if err != nil {
		return b, fmt.Errorf("read what roles have through module %s: %w", module, err)
	}
	return b, nil
}

// Purge removes what roles have of a module's permissions, and the roles that were there for its sake alone, with who has them.
// A role that another module names, too, stays, and so does one that the operator made or gave something else.
func (s *Service) Purge(ctx context.Context, module string) error {
	return s.change(ctx, "remove what roles have through module "+module, func(tx *gorm.DB) error {
		b, err := s.bindings(tx, module)
		if err != nil {
			return err
		}
		for _, p := range b.Patterns {
			if err := tx.Delete(&patternRow{}, "role = ? AND pattern = ?", p.Role, p.Pattern).Error; err != nil {
				return err
			}
		}
		for _, role := range b.Roles {
			if err := tx.Delete(&assignmentRow{}, "role = ?", role).Error; err != nil {
				return err
			}
			if err := tx.Delete(&roleRow{}, "name = ?", role).Error; err != nil {
				return err
			}
		}
		return s.inherit(tx, module)
	})
}

// inherit has the roles that stay come from a manifest that still names them.
func (s *Service) inherit(tx *gorm.DB, module string) error {
	var roles []roleRow
	if err := tx.Find(&roles, "description = ?", fromManifest(module)).Error; err != nil {
		return err
	}
	for _, role := range roles {
		other := s.namedBy(role.Name, module)
		if other == "" {
			continue
		}
		err := tx.Model(&roleRow{}).Where("name = ?", role.Name).Update("description", fromManifest(other)).Error
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) bindings(db *gorm.DB, module string) (b Bindings, err error) {
	b = Bindings{Patterns: []Binding{}, Roles: []string{}, Assignments: []Assignment{}}
	var patterns []patternRow
	if err := db.Order("role, pattern").Find(&patterns).Error; err != nil {
		return b, err
	}
	kept := map[string]bool{} // roles that have something else
	for _, p := range patterns {
		if strings.HasPrefix(p.Pattern, module+".") {
			b.Patterns = append(b.Patterns, Binding{Role: p.Role, Pattern: p.Pattern, Granted: p.Granted})
		} else {
			kept[p.Role] = true
		}
	}
	var roles []string
	err = db.Model(&roleRow{}).Where("description = ?", fromManifest(module)).Order("name").Pluck("name", &roles).Error
	if err != nil {
		return b, err
	}
	b.Roles = slices.DeleteFunc(append(b.Roles, roles...), func(role string) bool {
		return kept[role] || s.namedBy(role, module) != ""
	})
	var rows []assignmentRow
	if err := db.Order("role, kind, subject, source").Find(&rows, "role IN ?", b.Roles).Error; err != nil {
		return b, err
	}
	for _, r := range rows {
		b.Assignments = append(b.Assignments, Assignment{Role: r.Role, Subject: Subject{Kind: r.Kind, ID: r.Subject}, Source: r.Source})
	}
	return b, nil
}

// namedBy is another module whose manifest names the role, or "".
func (s *Service) namedBy(role, except string) string {
	for _, p := range s.Registry.All() {
		if p.Module != except && slices.Contains(p.Roles, role) {
			return p.Module
		}
	}
	return ""
}

// fromManifest is the description of a role that nobody has described: it says why there is one.
func fromManifest(module string) string { return "From the manifest of " + module }
