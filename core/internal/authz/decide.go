package authz

import (
	"fmt"
	"slices"
	"strings"
)

// Allows reports whether a user may do something. What nobody has declared is allowed to nobody, and nothing is to a user of
// whom nothing is known. An error means that it cannot be known: the caller must refuse then, too.
//
// It is on the path of every request: it asks no database, waits for nobody and allocates nothing.
func (s *Service) Allows(user, permission string) (bool, error) {
	index, err := s.current()
	if err != nil {
		return false, err
	}
	return index.allows(user, permission), nil
}

// AllowsAll is Allows for several permissions, which are all decided at one moment.
func (s *Service) AllowsAll(user string, permissions []string) ([]bool, error) {
	answers := make([]bool, len(permissions))
	index, err := s.current()
	if err != nil {
		return answers, err
	}
	for i, permission := range permissions {
		answers[i] = index.allows(user, permission)
	}
	return answers, nil
}

// Permissions returns the names of all permissions that a user has, sorted.
func (s *Service) Permissions(user string) ([]string, error) {
	index, err := s.current()
	if err != nil {
		return nil, err
	}
	return index.names(user), nil
}

// Decision is an answer of Allows with its reason.
type Decision struct {
	Allowed    bool   `json:"allowed"`
	User       string `json:"user"`
	Permission string `json:"permission"`
	Known      bool   `json:"known"`             // whether an installed module has declared the permission
	Role       string `json:"role,omitempty"`    // the role that decides, if it is allowed
	Pattern    string `json:"pattern,omitempty"` // what of the role
	Module     string `json:"module,omitempty"`  // whose manifest gave the role that; "" = the operator
	Via        string `json:"via,omitempty"`     // the group through which the user has the role; "" = directly
	// Grantors are the roles that would allow it, if it is denied; sorted, admin last.
	Grantors []string `json:"grantors,omitempty"`
}

// String says it in one line.
func (d Decision) String() string {
	switch {
	case d.Allowed:
		return d.because()
	case !d.Known:
		return fmt.Sprintf("denied: no module has a permission %.80q (fix: `platformd permission ls` lists them)", d.Permission)
	default:
		return fmt.Sprintf("denied: %s has no role that allows %s (fix: `platformd role assign ROLE %[1]s` with one of: %[3]s)",
			d.User, d.Permission, strings.Join(d.Grantors, ", "))
	}
}

func (d Decision) because() string {
	text := fmt.Sprintf("allowed: the role %s has %s", d.Role, d.Pattern)
	if d.Module != "" {
		text += ", by the manifest of the module " + d.Module
	}
	if d.Via != "" {
		return text + ", and belongs to the group " + d.Via
	}
	return text
}

// Explain is Allows with the reason: the first by name of the user's own roles that decides, else of those of groups.
func (s *Service) Explain(user, permission string) (Decision, error) {
	index, err := s.current()
	if err != nil {
		return Decision{User: user, Permission: permission}, err
	}
	return index.explain(user, permission), nil
}

func (x *index) explain(user, permission string) Decision {
	d := Decision{User: user, Permission: permission}
	var bit uint32
	if bit, d.Known = x.powers.bits[permission]; !d.Known {
		return d
	}
	roles, groups := x.people.split(user)
	if x.decided(&d, bit, roles) {
		return d
	}
	for _, group := range groups {
		if x.decided(&d, bit, x.people.ofGroup(group)) {
			d.Via = x.people.groupName(group)
			return d
		}
	}
	d.Grantors = x.grantors(permission)
	return d
}

func (x *index) decided(d *Decision, bit uint32, roles []uint32) bool {
	for _, role := range roles {
		if !x.powers.has(role, bit) {
			continue
		}
		d.Allowed, d.Role = true, x.people.roles[role]
		for _, p := range x.powers.held[d.Role] { // sorted, so that the narrowest is the last
			if Match(p.Pattern, d.Permission) {
				d.Pattern, d.Module = p.Pattern, p.Module
			}
		}
		return true
	}
	return false
}

func (x *index) grantors(permission string) []string {
	var names []string
	for role, patterns := range x.powers.held {
		if role != Admin && slices.ContainsFunc(patterns, func(p RolePattern) bool { return Match(p.Pattern, permission) }) {
			names = append(names, role)
		}
	}
	slices.Sort(names)
	return append(names, Admin)
}
