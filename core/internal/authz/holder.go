package authz

import (
	"context"
	"slices"
	"strings"

	"github.com/platformd/platformd/plugin-api/link"
)

// Holder is whoever wants to do something.
type Holder struct {
	Principal link.Principal
	// Bound is what the credential opens at most, as patterns; nil is no bound. A service token has nothing else: its bound is
	// also what it holds.
	Bound []string
}

// Index answers for users. A Service is one.
type Index interface {
	Allows(user, permission string) (bool, error)
	Declared(permission string) bool
}

// Decide reports whether the holder may do something: the one place where that is decided, for routes and modules alike. Whoever
// is neither a user nor a service token may do nothing. An error means that it cannot be known: the caller must refuse then, too.
func Decide(index Index, who Holder, permission string) (bool, error) {
	if who.Bound != nil && !Allows(who.Bound, permission) {
		return false, nil
	}
	switch who.Principal.Kind {
	case link.KindUser:
		return index.Allows(who.Principal.ID, permission)
	case link.KindToken:
		return who.Bound != nil && index.Declared(permission), nil
	}
	return false, nil
}

// Decide is the function of this name, by the service's index.
func (s *Service) Decide(who Holder, permission string) (bool, error) {
	return Decide(s, who, permission)
}

// Declared reports whether an installed module, or the platform, has declared the permission.
func (s *Service) Declared(permission string) bool { return s.Registry.Declared(permission) }

// Held returns the names of all permissions that the holder has, sorted.
func (s *Service) Held(who Holder) ([]string, error) {
	held := []string{}
	for _, p := range s.Registry.All() {
		allowed, err := s.Decide(who, p.Name)
		if err != nil {
			return nil, err
		}
		if allowed {
			held = append(held, p.Name)
		}
	}
	return held, nil
}

// MayHandOut reports whether the holder has all that a pattern covers, today and later: nobody hands out more than they have.
func (s *Service) MayHandOut(who Holder, pattern string) (bool, error) {
	index, err := s.current()
	if err != nil {
		return false, err
	}
	if who.Bound != nil && !covered(who.Bound, pattern) {
		return false, nil
	}
	switch who.Principal.Kind {
	case link.KindUser:
		return covered(index.patterns(who.Principal.ID), pattern), nil
	case link.KindToken:
		return who.Bound != nil, nil
	}
	return false, nil
}

// Covers reports whether the holder has all that a user has, today and later: whoever may act as the user then gains nothing. It
// asks the database for the roles of this moment.
func (s *Service) Covers(ctx context.Context, who Holder, user string) (bool, error) {
	index, err := s.now(ctx)
	if err != nil {
		return false, err
	}
	for _, pattern := range index.patterns(user) {
		if has, err := s.MayHandOut(who, pattern); !has || err != nil {
			return false, err
		}
	}
	return true, nil
}

// patterns are all that the roles of a user have.
func (x *index) patterns(user string) (found []string) {
	roles, groups := x.people.split(user)
	for _, group := range groups {
		roles = append(slices.Clip(roles), x.people.ofGroup(group)...)
	}
	for _, role := range roles {
		for _, p := range x.powers.held[x.people.roles[role]] {
			found = append(found, p.Pattern)
		}
	}
	return found
}

// covered reports whether one of the patterns held covers all that another one ever can.
func covered(held []string, pattern string) bool {
	return slices.ContainsFunc(held, func(have string) bool {
		beginning, wild := strings.CutSuffix(have, everything)
		return have == pattern || wild && strings.HasPrefix(pattern, beginning)
	})
}
