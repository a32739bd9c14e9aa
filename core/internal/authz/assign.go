package authz

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/problem"
)

// The kinds of subjects, as they are stored.
const (
	kindUser  = "user"
	kindGroup = "group"
)

// Subject is whom a role is assigned to. User and ToGroup make one.
type Subject struct {
	Kind string `json:"kind"` // "user" or "group"
	ID   string `json:"id"`   // a user's id or a group's name
}

// ToUser is the user with an id. Whether there is one is the caller's to know.
func ToUser(id string) Subject { return Subject{Kind: kindUser, ID: id} }

// ToGroup is the group with a name.
func ToGroup(name string) Subject { return Subject{Kind: kindGroup, ID: name} }

func (s Subject) check() error {
	switch s.Kind {
	case kindUser:
		return checkID("the id of a user", s.ID)
	case kindGroup:
		return checkName("group", s.ID)
	}
	return problem.Invalid("%.80q is no kind of subject (fix: say user or group)", s.Kind)
}

// Assignment says that a subject has a role.
type Assignment struct {
	Role    string  `json:"role"`
	Subject Subject `json:"subject"`
	Source  string  `json:"source,omitempty"` // who said so, see SyncExternal; "" = the operator
}

// Assign gives a role to users and groups, at most 10,000 at once. Who has it already is no error.
func (s *Service) Assign(ctx context.Context, role string, to ...Subject) error {
	if err := checkAssignment(role, to); err != nil {
		return err
	}
	return s.change(ctx, "assign role", func(tx *gorm.DB) error { return s.assign(tx, role, to) })
}

// AssignTx is Assign as a part of another transaction on the core's database. It keeps every other change of access waiting until
// tx ends. Call Refresh after the commit, or it takes up to Staleness until the assignment counts.
func (s *Service) AssignTx(tx *gorm.DB, role string, to ...Subject) error {
	if err := checkAssignment(role, to); err != nil {
		return err
	}
	return changeIn(tx, func(tx *gorm.DB) error { return s.assign(tx, role, to) })
}

func checkAssignment(role string, to []Subject) error {
	if len(to) > maxBatch {
		return problem.Invalid("%d subjects are too many at once (fix: at most %d)", len(to), maxBatch)
	}
	for _, subject := range to {
		if err := subject.check(); err != nil {
			return err
		}
	}
	return checkName("role", role)
}

func (s *Service) assign(tx *gorm.DB, role string, to []Subject) error {
	if err := s.haveRole(tx, role); err != nil {
		return err
	}
	rows := make([]assignmentRow, len(to))
	for i, subject := range to {
		if subject.Kind == kindGroup {
			if err := haveGroup(tx, subject.ID); err != nil {
				return err
			}
		}
		rows[i] = assignmentRow{Role: role, Kind: subject.Kind, Subject: subject.ID, CreatedAt: tx.NowFunc()}
	}
	return insertAll(tx, rows)
}

// Unassign takes a role from users and groups, whoever gave it to them; what an external source gave may come back when the user
// signs in again. Who does not have it is no error.
func (s *Service) Unassign(ctx context.Context, role string, from ...Subject) error {
	if err := checkAssignment(role, from); err != nil {
		return err
	}
	return s.change(ctx, "unassign role", func(tx *gorm.DB) error {
		if err := s.haveRole(tx, role); err != nil {
			return err
		}
		return s.keepAdmin(tx, func(tx *gorm.DB) error {
			for _, subject := range from {
				err := tx.Delete(&assignmentRow{}, "role = ? AND kind = ? AND subject = ?", role, subject.Kind, subject.ID).Error
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Forget removes all that is kept of a user who has been deleted. It returns ErrLastAdmin rather than the last admin.
func (s *Service) Forget(ctx context.Context, user string) error {
	return s.change(ctx, "forget user", func(tx *gorm.DB) error { return s.forget(tx, user) })
}

// ForgetTx is Forget as a part of the transaction that deletes the user. Call Refresh after the commit; see AssignTx.
func (s *Service) ForgetTx(tx *gorm.DB, user string) error {
	return changeIn(tx, func(tx *gorm.DB) error { return s.forget(tx, user) })
}

func (s *Service) forget(tx *gorm.DB, user string) error {
	return s.keepAdmin(tx, func(tx *gorm.DB) error {
		if err := tx.Delete(&memberRow{}, "user_id = ?", user).Error; err != nil {
			return err
		}
		return tx.Delete(&assignmentRow{}, "kind = ? AND subject = ?", kindUser, user).Error
	})
}

// SyncExternal makes roles those that a user has by the word of an external source, such as the issuer who signed them in. What
// other sources and the operator say stays as it is. A role that there is not is left out, with a warning in the log. Nothing is
// written if nothing is new, so that it can be called at every sign-in.
func (s *Service) SyncExternal(ctx context.Context, user, source string, roles []string) error {
	if err := checkID("the id of a user", user); err != nil {
		return err
	}
	if err := checkID("the name of a source", source); err != nil {
		return err
	}
	if len(roles) > maxBatch {
		return problem.Invalid("%d roles are too many (fix: at most %d)", len(roles), maxBatch)
	}
	wanted := slices.Compact(slices.Sorted(slices.Values(roles)))
	wanted, err := s.existing(ctx, wanted)
	if err != nil {
		return err
	}
	has, err := external(s.db.WithContext(ctx), user, source)
	if err != nil || slices.Equal(has, wanted) {
		return err
	}
	return s.change(ctx, "take over roles from "+source, func(tx *gorm.DB) error {
		return s.keepAdmin(tx, func(tx *gorm.DB) error { return s.replace(tx, user, source, wanted) })
	})
}

// existing drops the roles that there are not.
func (s *Service) existing(ctx context.Context, roles []string) ([]string, error) {
	var stored []string
	if err := s.db.WithContext(ctx).Model(&roleRow{}).Pluck("name", &stored).Error; err != nil {
		return nil, err
	}
	for _, p := range s.Registry.All() {
		stored = append(stored, p.Roles...)
	}
	kept := []string{}
	for _, role := range roles {
		if slices.Contains(stored, role) {
			kept = append(kept, role)
		} else {
			s.Log.Warn("an external source names a role that there is not", "role", fmt.Sprintf("%.80q", role))
		}
	}
	return kept, nil
}

func external(db *gorm.DB, user, source string) (roles []string, err error) {
	err = db.Model(&assignmentRow{}).Where("kind = ? AND subject = ? AND source = ?", kindUser, user, source).
		Pluck("role", &roles).Error
	slices.Sort(roles)
	return roles, err
}

func (s *Service) replace(tx *gorm.DB, user, source string, roles []string) error {
	err := tx.Delete(&assignmentRow{}, "kind = ? AND subject = ? AND source = ?", kindUser, user, source).Error
	if err != nil {
		return err
	}
	rows := make([]assignmentRow, len(roles))
	for i, role := range roles {
		if err := s.haveRole(tx, role); err != nil {
			return err
		}
		rows[i] = assignmentRow{Role: role, Kind: kindUser, Subject: user, Source: source, CreatedAt: tx.NowFunc()}
	}
	return insertAll(tx, rows)
}

// AssignmentsOf returns what a user or group has been assigned, sorted by role and source. What a user has through groups is
// assigned to those.
func (s *Service) AssignmentsOf(ctx context.Context, subject Subject) ([]Assignment, error) {
	return s.assignments(ctx, "kind = ? AND subject = ?", subject.Kind, subject.ID)
}

// AssignmentsTo returns who has a role, sorted by kind, id and source.
func (s *Service) AssignmentsTo(ctx context.Context, role string) ([]Assignment, error) {
	return s.assignments(ctx, "role = ?", role)
}

func (s *Service) assignments(ctx context.Context, where string, args ...any) ([]Assignment, error) {
	var rows []assignmentRow
	if err := s.db.WithContext(ctx).Where(where, args...).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read assignments: %w", err)
	}
	list := make([]Assignment, len(rows))
	for i, r := range rows {
		list[i] = Assignment{Role: r.Role, Subject: Subject{Kind: r.Kind, ID: r.Subject}, Source: r.Source}
	}
	slices.SortFunc(list, func(a, b Assignment) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Subject.Kind, b.Subject.Kind),
			cmp.Compare(a.Subject.ID, b.Subject.ID), cmp.Compare(a.Source, b.Source))
	})
	return list, nil
}
