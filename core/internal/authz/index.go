package authz

import (
	"maps"
	"slices"
	"strings"
)

// index answers who may do what. It never changes once it is built.
//
// Each role, and each group with all of its roles, is a holder: a row of bits, one per permission. A user has few holders; a
// check looks at one bit of each.
type index struct {
	tables *tables
	people *people
	powers *powers
}

func newIndex(t *tables, p *people, all []Permission) *index {
	return &index{tables: t, people: p, powers: newPowers(t, p, all)}
}

// allows is on the path of every request: it allocates nothing.
func (x *index) allows(user, permission string) bool {
	bit, known := x.powers.bits[permission]
	if !known {
		return false
	}
	who := x.people.of[user]
	for _, holder := range who.few[:who.count] {
		if x.powers.has(holder, bit) {
			return true
		}
	}
	return false
}

// names are all permissions of a user, sorted.
func (x *index) names(user string) []string {
	names := []string{}
	who := x.people.of[user]
	holders := who.few[:who.count]
	for bit, p := range x.powers.all {
		if slices.ContainsFunc(holders, func(holder uint32) bool { return x.powers.has(holder, uint32(bit)) }) {
			names = append(names, p.Name)
		}
	}
	return names
}

// few is how many holders a user has at most. Whoever would have more gets one that unites them, so that every check is short.
const few = 6

// people is who has which holders. It depends on the tables alone, so that it outlives a change of the registry.
type people struct {
	roles   []string // sorted; the holders from 0 on
	groups  []string // sorted; the holders that follow
	grouped [][]uint32
	wide    [][]uint32 // what the holders after those of groups unite
	of      map[string]who
}

// who is what a user has. It points to nothing: neither a check nor the garbage collector has to go and look.
type who struct {
	few   [few]uint32 // roles, then groups; or the one that unites them
	count uint32
}

func newPeople(t *tables) *people {
	p := &people{roles: roleNames(t), groups: groupNames(t)}
	role, group := numbered(p.roles, 0), numbered(p.groups, len(p.roles))
	p.grouped = make([][]uint32, len(p.groups))
	holders := make(map[string][]uint32, len(t.assignments)+len(t.members))
	for _, a := range t.assignments {
		switch id := role[a.Role]; a.Kind {
		case kindUser:
			holders[a.Subject] = append(holders[a.Subject], id)
		case kindGroup:
			at := group[a.Subject] - uint32(len(p.roles))
			p.grouped[at] = append(p.grouped[at], id)
		}
	}
	for _, m := range t.members {
		holders[m.UserID] = append(holders[m.UserID], group[m.GroupName])
	}
	for i := range p.grouped {
		p.grouped[i] = sorted(p.grouped[i])
	}
	p.count(holders)
	return p
}

func (p *people) count(holders map[string][]uint32) {
	p.of = make(map[string]who, len(holders))
	for user, list := range holders {
		list = sorted(list)
		if len(list) > few {
			p.wide = append(p.wide, list)
			list = []uint32{uint32(p.narrow() + len(p.wide) - 1)}
		}
		w := who{count: uint32(len(list))}
		copy(w.few[:], list)
		p.of[user] = w
	}
}

// narrow is how many holders are roles and groups.
func (p *people) narrow() int { return len(p.roles) + len(p.groups) }

// split takes a user's holders apart.
func (p *people) split(user string) (roles, groups []uint32) {
	who := p.of[user]
	list := who.few[:who.count]
	if len(list) > 0 && int(list[0]) >= p.narrow() {
		list = p.wide[int(list[0])-p.narrow()]
	}
	at, _ := slices.BinarySearch(list, uint32(len(p.roles)))
	return list[:at], list[at:]
}

// ofGroup are the roles of the group that a holder is.
func (p *people) ofGroup(holder uint32) []uint32 { return p.grouped[holder-uint32(len(p.roles))] }

func (p *people) groupName(holder uint32) string { return p.groups[holder-uint32(len(p.roles))] }

// roleNames are all that rows speak of, so that a row without its role can do no harm but what the role's name does.
func roleNames(t *tables) []string {
	found := make(map[string]struct{})
	for _, r := range t.roles {
		found[r.Name] = struct{}{}
	}
	for _, a := range t.assignments {
		found[a.Role] = struct{}{}
	}
	return slices.Sorted(maps.Keys(found))
}

func groupNames(t *tables) []string {
	found := make(map[string]struct{})
	for _, g := range t.groups {
		found[g.Name] = struct{}{}
	}
	for _, m := range t.members {
		found[m.GroupName] = struct{}{}
	}
	for _, a := range t.assignments {
		if a.Kind == kindGroup {
			found[a.Subject] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func numbered(names []string, first int) map[string]uint32 {
	ids := make(map[string]uint32, len(names))
	for i, name := range names {
		ids[name] = uint32(first + i)
	}
	return ids
}

// sorted drops repetitions, too: one role may be assigned by several sources.
func sorted(ids []uint32) []uint32 {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// powers is what holders allow.
type powers struct {
	all   []Permission // sorted by name; the index is the permission's bit
	bits  map[string]uint32
	words uint32   // of a row
	rows  []uint64 // of all holders, one after the other
	held  map[string][]RolePattern
}

func newPowers(t *tables, p *people, all []Permission) *powers {
	w := &powers{
		all: all, bits: make(map[string]uint32, len(all)), words: uint32(len(all)+63) / 64, held: held(t, all),
	}
	for i, permission := range all {
		w.bits[permission.Name] = uint32(i)
	}
	w.rows = make([]uint64, w.words*uint32(p.narrow()+len(p.wide)))
	for id, name := range p.roles {
		for _, pattern := range w.held[name] {
			w.set(uint32(id), pattern.Pattern)
		}
	}
	next := uint32(len(p.roles))
	for _, united := range slices.Concat(p.grouped, p.wide) {
		w.unite(next, united)
		next++
	}
	return w
}

func (w *powers) row(holder uint32) []uint64 { return w.rows[holder*w.words : (holder+1)*w.words] }

func (w *powers) has(holder, bit uint32) bool {
	return w.rows[holder*w.words+bit/64]&(1<<(bit%64)) != 0
}

// set lets a holder do what a pattern covers, as Match says.
func (w *powers) set(holder uint32, pattern string) {
	row := w.row(holder)
	from, to := w.covered(pattern)
	for bit := from; bit < to; bit++ {
		row[bit/64] |= 1 << (bit % 64)
	}
}

// covered is the range of the permissions that a pattern covers: those with a common beginning are neighbours.
func (w *powers) covered(pattern string) (from, to int) {
	if bit, exact := w.bits[pattern]; exact {
		return int(bit), int(bit) + 1
	}
	prefix, wild := strings.CutSuffix(pattern, everything)
	if !wild || prefix != "" && (len(prefix) < 2 || !strings.HasSuffix(prefix, ".")) {
		return 0, 0
	}
	from, _ = slices.BinarySearchFunc(w.all, prefix, func(p Permission, from string) int { return strings.Compare(p.Name, from) })
	for to = from; to < len(w.all) && strings.HasPrefix(w.all[to].Name, prefix); to++ {
	}
	return from, to
}

func (w *powers) unite(holder uint32, of []uint32) {
	row := w.row(holder)
	for _, one := range of {
		for i, word := range w.row(one) {
			row[i] |= word
		}
	}
}

// held is what each role has: what it was given, and what manifests say that it has from the beginning.
func held(t *tables, all []Permission) map[string][]RolePattern {
	found := map[string][]RolePattern{Admin: {{Pattern: everything}}}
	taken := make(map[string][]string)
	has := make(map[[2]string]bool)
	for _, row := range t.patterns {
		switch {
		case row.Role == Admin: // built in, whatever stands there
		case row.Granted:
			has[[2]string{row.Role, row.Pattern}] = true
			found[row.Role] = append(found[row.Role], RolePattern{Pattern: row.Pattern})
		default:
			taken[row.Role] = append(taken[row.Role], row.Pattern)
		}
	}
	for _, p := range all {
		for _, role := range p.Roles {
			if role != Admin && !has[[2]string{role, p.Name}] && !Allows(taken[role], p.Name) {
				found[role] = append(found[role], RolePattern{Pattern: p.Name, Module: p.Module})
			}
		}
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b RolePattern) int { return strings.Compare(a.Pattern, b.Pattern) })
	}
	return found
}
