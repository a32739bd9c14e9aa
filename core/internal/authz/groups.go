package authz

import (
	"cmp"
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// batch is how many rows go into one statement.
const batch = 500

// Group is a set of users that roles can be assigned to.
type Group struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Members     int      `json:"members"`
	Roles       []string `json:"roles"` // sorted
}

// CreateGroup makes an empty group.
func (s *Service) CreateGroup(ctx context.Context, name, description string) error {
	if err := checkName("group", name); err != nil {
		return err
	}
	if err := checkText(description); err != nil {
		return err
	}
	return s.change(ctx, "create group "+name, func(tx *gorm.DB) error {
		return insertNew(tx, "group", name, &groupRow{Name: name, Description: description, CreatedAt: tx.NowFunc()})
	})
}

// DeleteGroup deletes a group; its members lose the roles that they have through it.
func (s *Service) DeleteGroup(ctx context.Context, name string) error {
	return s.change(ctx, "delete group", func(tx *gorm.DB) error {
		return s.keepAdmin(tx, func(tx *gorm.DB) error { return deleteGroup(tx, name) })
	})
}

func deleteGroup(tx *gorm.DB, name string) error {
	gone := tx.Delete(&groupRow{}, "name = ?", name)
	if gone.Error == nil && gone.RowsAffected == 0 {
		return noGroup(tx, name)
	}
	if gone.Error != nil {
		return gone.Error
	}
	if err := tx.Delete(&memberRow{}, "group_name = ?", name).Error; err != nil {
		return err
	}
	return tx.Delete(&assignmentRow{}, "kind = ? AND subject = ?", kindGroup, name).Error
}

func haveGroup(tx *gorm.DB, name string) error {
	var stored int64
	if err := tx.Model(&groupRow{}).Where("name = ?", name).Count(&stored).Error; err != nil || stored > 0 {
		return err
	}
	return noGroup(tx, name)
}

func noGroup(tx *gorm.DB, name string) error {
	var names []string
	if err := tx.Model(&groupRow{}).Pluck("name", &names).Error; err != nil {
		return err
	}
	return notFound("group", name, names)
}

// AddMembers puts users into a group, at most 10,000 at once. Who is in it already is no error. Whether there is such a user is
// the caller's to know.
func (s *Service) AddMembers(ctx context.Context, group string, users ...string) error {
	if err := checkUsers(users); err != nil {
		return err
	}
	return s.change(ctx, "add members to group", func(tx *gorm.DB) error {
		if err := haveGroup(tx, group); err != nil {
			return err
		}
		rows := make([]memberRow, len(users))
		for i, user := range users {
			rows[i] = memberRow{GroupName: group, UserID: user, CreatedAt: tx.NowFunc()}
		}
		return insertAll(tx, rows)
	})
}

// insertAll leaves rows that are there as they are.
func insertAll[T any](tx *gorm.DB, rows []T) error {
	if len(rows) == 0 {
		return nil
	}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(rows, batch).Error
}

// RemoveMembers takes users out of a group. Who is not in it is no error.
func (s *Service) RemoveMembers(ctx context.Context, group string, users ...string) error {
	if err := checkUsers(users); err != nil {
		return err
	}
	return s.change(ctx, "remove members of group", func(tx *gorm.DB) error {
		if err := haveGroup(tx, group); err != nil {
			return err
		}
		return s.keepAdmin(tx, func(tx *gorm.DB) error {
			for some := range slices.Chunk(users, batch) {
				if err := tx.Delete(&memberRow{}, "group_name = ? AND user_id IN ?", group, some).Error; err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// Groups returns all groups, sorted by name, as they are now.
func (s *Service) Groups(ctx context.Context) ([]Group, error) {
	index, err := s.now(ctx)
	if err != nil {
		return nil, err
	}
	members := make(map[string]int)
	for _, m := range index.tables.members {
		members[m.GroupName]++
	}
	list := make([]Group, 0, len(index.tables.groups))
	for _, row := range index.tables.groups {
		list = append(list, Group{
			Name: row.Name, Description: row.Description, Members: members[row.Name], Roles: index.people.rolesOf(row.Name),
		})
	}
	slices.SortFunc(list, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// rolesOf are the names of a group's roles.
func (p *people) rolesOf(group string) []string {
	names := []string{}
	if at, found := slices.BinarySearch(p.groups, group); found {
		for _, role := range p.grouped[at] {
			names = append(names, p.roles[role])
		}
	}
	return names
}

// GroupsOf returns the groups that a user is in, sorted.
func (s *Service) GroupsOf(ctx context.Context, user string) ([]string, error) {
	return s.strings(ctx, "SELECT group_name FROM authz_members WHERE user_id = ?", user)
}

// Members returns the users in a group, sorted by id.
func (s *Service) Members(ctx context.Context, group string) ([]string, error) {
	if err := haveGroup(s.db.WithContext(ctx), group); err != nil {
		return nil, err
	}
	return s.strings(ctx, "SELECT user_id FROM authz_members WHERE group_name = ?", group)
}

// strings sorts here: a server may have rules of its own for that.
func (s *Service) strings(ctx context.Context, query, arg string) ([]string, error) {
	found := []string{}
	err := s.db.WithContext(ctx).Raw(query, arg).Scan(&found).Error
	slices.Sort(found)
	return found, err
}
