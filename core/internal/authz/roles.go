package authz

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/plugin-api/problem"
)

// Admin is the role that is built in. It allows everything.
const Admin = "admin"

// Role is a set of permissions with a name.
type Role struct {
	Name        string        `json:"name"`
	Description string        `json:"description"`
	BuiltIn     bool          `json:"built_in,omitempty"`
	Patterns    []RolePattern `json:"permissions"`       // sorted
	Revoked     []string      `json:"revoked,omitempty"` // patterns of what manifests give the role and the operator took away
	Users       int           `json:"users"`             // who have it themselves
	Groups      int           `json:"groups"`
}

// RolePattern is something that a role has.
type RolePattern struct {
	Pattern string `json:"pattern"`          // that Match reads
	Module  string `json:"module,omitempty"` // whose manifest says so; "" = the operator granted it
	Orphan  bool   `json:"orphan,omitempty"` // it covers no permission of any module that is installed
}

// CreateRole makes a role that allows nothing yet, or as much as manifests give it.
func (s *Service) CreateRole(ctx context.Context, name, description string) error {
	if err := checkName("role", name); err != nil {
		return err
	}
	if err := checkText(description); err != nil {
		return err
	}
	return s.change(ctx, "create role "+name, func(tx *gorm.DB) error {
		return insertNew(tx, "role", name, &roleRow{Name: name, Description: description, CreatedAt: tx.NowFunc()})
	})
}

// insertNew finds what is there by the rows that it could not insert, as a failed statement would end the transaction.
func insertNew(tx *gorm.DB, what, name string, row any) error {
	done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(row)
	if done.Error == nil && done.RowsAffected == 0 {
		return &ExistsError{What: what, Name: name}
	}
	return done.Error
}

// DeleteRole deletes a role, with what it has and who has it. What manifests say of a role by that name stands again for those
// who are given it later.
func (s *Service) DeleteRole(ctx context.Context, name string) error {
	if name == Admin {
		return ErrBuiltIn
	}
	return s.change(ctx, "delete role", func(tx *gorm.DB) error {
		gone := tx.Delete(&roleRow{}, "name = ?", name)
		switch {
		case gone.Error != nil:
			return gone.Error
		case gone.RowsAffected == 0 && s.byDefault(name) != "":
			return problem.Invalid("the role %s is part of the manifest of %s (fix: revoke what it has, or unassign it)",
				name, s.byDefault(name))
		case gone.RowsAffected == 0:
			return s.noRole(tx, name)
		}
		if err := tx.Delete(&patternRow{}, "role = ?", name).Error; err != nil {
			return err
		}
		return tx.Delete(&assignmentRow{}, "role = ?", name).Error
	})
}

// byDefault is a module whose manifest names the role, or "".
func (s *Service) byDefault(role string) string { return s.namedBy(role, "") }

func (s *Service) noRole(tx *gorm.DB, name string) error {
	var names []string
	if err := tx.Model(&roleRow{}).Pluck("name", &names).Error; err != nil {
		return err
	}
	for _, p := range s.Registry.All() {
		names = append(names, p.Roles...)
	}
	slices.Sort(names)
	return notFound("role", name, slices.Compact(names))
}

// haveRole returns an error if there is no such role. One that is only in a manifest is stored, so that it outlasts the module
// together with what the operator did to it.
func (s *Service) haveRole(tx *gorm.DB, name string) error {
	var stored int64
	if err := tx.Model(&roleRow{}).Where("name = ?", name).Count(&stored).Error; err != nil || stored > 0 {
		return err
	}
	module := s.byDefault(name)
	if module == "" {
		return s.noRole(tx, name)
	}
	return tx.Create(&roleRow{Name: name, Description: fromManifest(module), CreatedAt: tx.NowFunc()}).Error
}

// Grant gives a role permissions. A pattern that covers nothing now is refused, with the nearest that does; see
// Registry.CheckPattern. What the role has already is no error.
func (s *Service) Grant(ctx context.Context, role string, patterns ...string) error {
	for _, pattern := range patterns {
		if err := s.Registry.CheckPattern(pattern); err != nil {
			return err
		}
	}
	return s.edit(ctx, "grant to role ", role, func(tx *gorm.DB) error {
		for _, pattern := range patterns {
			if err := grant(tx, role, pattern); err != nil {
				return err
			}
		}
		return nil
	})
}

// edit is a change of what a role has.
func (s *Service) edit(ctx context.Context, act, role string, work func(tx *gorm.DB) error) error {
	if role == Admin {
		return ErrBuiltIn
	}
	if err := checkName("role", role); err != nil {
		return err
	}
	return s.change(ctx, act+role, func(tx *gorm.DB) error {
		if err := s.haveRole(tx, role); err != nil {
			return err
		}
		return work(tx)
	})
}

// grant also forgets what was taken away of the same.
func grant(tx *gorm.DB, role, pattern string) error {
	var taken []patternRow
	if err := tx.Find(&taken, "role = ? AND NOT granted", role).Error; err != nil {
		return err
	}
	if err := forgetCovered(tx, taken, pattern); err != nil {
		return err
	}
	return record(tx, role, pattern, true)
}

// record says whether a pattern is granted or taken away.
func record(tx *gorm.DB, role, pattern string, granted bool) error {
	row := &patternRow{Role: role, Pattern: pattern, Granted: granted, CreatedAt: tx.NowFunc()}
	return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(row).Error
}

// Revoke takes permissions from a role: each pattern, and whatever narrower the role has. What manifests give it is taken for
// good, and so is what later versions of the modules would give it and a pattern covers. If the role does not have such a thing,
// or would keep it through something wider, that is a *NotHeldError, and nothing changes. Unlike Grant it works for modules that
// are not installed.
func (s *Service) Revoke(ctx context.Context, role string, patterns ...string) error {
	for _, pattern := range patterns {
		if !validPattern.MatchString(pattern) {
			return &PatternError{Pattern: pattern}
		}
	}
	return s.edit(ctx, "revoke from role ", role, func(tx *gorm.DB) error {
		var rows []patternRow
		if err := tx.Find(&rows, "role = ?", role).Error; err != nil {
			return err
		}
		has := held(&tables{patterns: rows}, s.Registry.All())[role]
		if err := checkHeld(role, has, patterns); err != nil {
			return err
		}
		for _, pattern := range patterns {
			if err := revoke(tx, role, rows, pattern); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkHeld(role string, has []RolePattern, patterns []string) error {
	for _, pattern := range patterns {
		if !slices.ContainsFunc(has, func(p RolePattern) bool { return covers(pattern, p.Pattern) }) {
			return &NotHeldError{Role: role, Pattern: pattern, Through: wider(has, pattern, patterns)}
		}
		if through := wider(has, pattern, patterns); through != "" {
			return &NotHeldError{Role: role, Pattern: pattern, Through: through}
		}
	}
	return nil
}

// wider is what of has covers the pattern and is not itself among those to be revoked.
func wider(has []RolePattern, pattern string, revoked []string) string {
	for _, p := range has {
		covered := slices.ContainsFunc(revoked, func(r string) bool { return covers(r, p.Pattern) })
		if covers(p.Pattern, pattern) && !covered {
			return p.Pattern
		}
	}
	return ""
}

// revoke leaves a row even if no manifest has given the pattern to the role: one may, later.
func revoke(tx *gorm.DB, role string, rows []patternRow, pattern string) error {
	if err := forgetCovered(tx, rows, pattern); err != nil {
		return err
	}
	return record(tx, role, pattern, false)
}

// forgetCovered deletes those of the rows that a pattern makes superfluous.
func forgetCovered(tx *gorm.DB, rows []patternRow, pattern string) error {
	for _, row := range rows {
		if !covers(pattern, row.Pattern) {
			continue
		}
		if err := tx.Delete(&patternRow{}, "role = ? AND pattern = ?", row.Role, row.Pattern).Error; err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether everything that the pattern narrow can match is matched by wide.
func covers(wide, narrow string) bool {
	prefix, wild := strings.CutSuffix(wide, everything)
	return wide == narrow || wild && strings.HasPrefix(narrow, prefix)
}
