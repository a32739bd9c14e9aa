package authz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/manifest"
)

// worlds is how many random worlds each property is tried in.
const worlds = 2500

// world is a state of the tables and of the registry.
type world struct {
	*tables
	modules  map[string][]manifest.Permission
	declared map[string]manifest.Permission
}

func (w world) registry(t testing.TB) *Registry {
	t.Helper()
	r := NewRegistry()
	for module, permissions := range w.modules {
		require.NoError(t, r.Set(module, permissions))
	}
	return r
}

func (w world) index(t testing.TB) *index {
	t.Helper()
	return newIndex(w.tables, newPeople(w.tables), w.registry(t).All())
}

// The names of the worlds. There are few, so that they meet; some begin like others. What is not in a registry, a pattern that is
// none, and rows without their role or group, are part of it.
var (
	moduleNames = []string{"a", "ab", "b"}
	segments    = []string{"x", "xy", "y"}
	roleChoice  = []string{"r0", "r1", "r2", "r3", "member", Admin}
	groupChoice = []string{"g0", "g1", "g2"}
	userChoice  = []string{"u0", "u1", "u2", "u3", "u4"}
	oddities    = []string{"", "**", ".*", "a*", "ab*", "a.x*", "*.x", "a.x.x.*", "a.*.x", "a.x", "A.*", "a.", "x.*"}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func allNames() (names []string) {
	for _, m := range moduleNames {
		for _, resource := range segments {
			for _, action := range segments {
				names = append(names, m+"."+resource+"."+action)
			}
		}
	}
	return names
}

func anyPattern(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return everything
	case 1:
		return pick(r, oddities)
	case 2, 3:
		return pick(r, moduleNames) + ".*"
	case 4, 5:
		return pick(r, moduleNames) + "." + pick(r, segments) + ".*"
	}
	return pick(r, allNames())
}

func newWorld(r *rand.Rand) world {
	w := world{
		tables: new(tables), modules: make(map[string][]manifest.Permission), declared: make(map[string]manifest.Permission),
	}
	for _, name := range allNames() {
		if r.IntN(3) == 0 {
			continue
		}
		p := manifest.Permission{Name: name}
		for _, role := range []string{"member", "r0", Admin} {
			if r.IntN(8) == 0 {
				p.Roles = append(p.Roles, role)
			}
		}
		w.declared[name] = p
		module, _, _ := strings.Cut(name, ".")
		w.modules[module] = append(w.modules[module], p)
	}
	w.populate(r)
	return w
}

func (w world) populate(r *rand.Rand) {
	for _, role := range roleChoice {
		if r.IntN(4) > 0 {
			w.roles = append(w.roles, roleRow{Name: role})
		}
	}
	for range r.IntN(8) {
		w.addPattern(r, r.IntN(3) > 0)
	}
	for range r.IntN(8) {
		w.addAssignment(r)
	}
	for range r.IntN(8) {
		w.addMember(r)
	}
	if r.IntN(10) == 0 { // somebody with very many roles
		for i := range 3 * few {
			w.assignments = append(w.assignments, assignmentRow{Role: fmt.Sprintf("wide%d", i), Kind: kindUser, Subject: "u0"})
		}
	}
}

func (w world) addPattern(r *rand.Rand, granted bool) {
	row := patternRow{Role: pick(r, roleChoice), Pattern: anyPattern(r), Granted: granted}
	same := func(have patternRow) bool { return have.Role == row.Role && have.Pattern == row.Pattern }
	if !slices.ContainsFunc(w.patterns, same) { // the primary key
		w.patterns = append(w.patterns, row)
	}
}

func (w world) addAssignment(r *rand.Rand) {
	row := assignmentRow{Role: pick(r, roleChoice[:5+r.IntN(8)/7]), Kind: kindUser, Subject: pick(r, userChoice)}
	if r.IntN(2) == 0 {
		row.Kind, row.Subject = kindGroup, pick(r, groupChoice)
	}
	w.assignments = append(w.assignments, row)
}

func (w world) addMember(r *rand.Rand) {
	w.members = append(w.members, memberRow{GroupName: pick(r, groupChoice), UserID: pick(r, userChoice)})
}

// naive is the rule as one would say it, written as slowly as it pleases.
func (w world) naive(user, permission string) bool {
	declared, known := w.declared[permission]
	if !known {
		return false
	}
	for _, a := range w.assignments {
		if w.reaches(a, user) && w.roleAllows(a.Role, declared) {
			return true
		}
	}
	return false
}

func (w world) reaches(a assignmentRow, user string) bool {
	if a.Kind == kindUser {
		return a.Subject == user
	}
	for _, m := range w.members {
		if m.GroupName == a.Subject && m.UserID == user {
			return true
		}
	}
	return false
}

func (w world) roleAllows(role string, p manifest.Permission) bool {
	if role == Admin {
		return true
	}
	byDefault := slices.Contains(p.Roles, role)
	for _, row := range w.patterns {
		if row.Role != role || !Match(row.Pattern, p.Name) {
			continue
		}
		if row.Granted {
			return true
		}
		byDefault = false
	}
	return byDefault
}

// eachWorld calls test with the same worlds in every run.
func eachWorld(t *testing.T, test func(t *testing.T, r *rand.Rand, w world)) {
	t.Helper()
	for seed := range uint64(worlds) {
		r := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(r)
		test(t, r, w)
		if t.Failed() {
			t.Fatalf("in world %d: %+v, modules %v", seed, w.tables, w.modules)
		}
	}
}

// questions are all that can be asked in a world, and some that cannot.
func questions(ask func(user, permission string)) {
	for _, user := range append(userChoice, "", "nobody", "g0") {
		for _, permission := range append(append(allNames(), oddities...), everything, "a.*", "a.x.*") {
			ask(user, permission)
		}
	}
}

func TestTheIndexSaysWhatTheRuleSays(t *testing.T) {
	t.Parallel()
	allowed, denied := 0, 0
	eachWorld(t, func(t *testing.T, _ *rand.Rand, w world) {
		index := w.index(t)
		questions(func(user, permission string) {
			got := index.allows(user, permission)
			if want := w.naive(user, permission); got != want {
				t.Errorf("%s %s: %t, not %t", user, permission, got, want)
			}
			if got {
				allowed++
			} else if _, known := w.declared[permission]; known {
				denied++
			}
		})
		for _, user := range userChoice {
			for _, name := range index.names(user) {
				require.True(t, w.naive(user, name))
			}
		}
	})
	require.Greater(t, allowed, 5*worlds, "the worlds are of some interest")
	require.Greater(t, denied, 5*worlds)
}

func TestTheReasonIsAReason(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, _ *rand.Rand, w world) {
		index := w.index(t)
		questions(func(user, permission string) {
			d := index.explain(user, permission)
			if _, known := w.declared[permission]; !w.bearsOut(d) || d.Allowed != index.allows(user, permission) || d.Known != known {
				t.Errorf("%s %s: %+v", user, permission, d)
			}
		})
	})
}

// bearsOut checks every part of a reason on its own.
func (w world) bearsOut(d Decision) bool {
	if !d.Known {
		return !d.Allowed && d.Grantors == nil
	}
	declared := w.declared[d.Permission]
	if !d.Allowed {
		for _, role := range append(roleChoice, "nosuch") {
			if w.roleAllows(role, declared) != slices.Contains(d.Grantors, role) {
				return false
			}
		}
		return true
	}
	assigned := slices.ContainsFunc(w.assignments, func(a assignmentRow) bool {
		direct := a.Kind == kindUser && d.Via == "" && a.Subject == d.User
		return a.Role == d.Role && (direct || a.Kind == kindGroup && a.Subject == d.Via && w.reaches(a, d.User))
	})
	byManifest := d.Module != "" && slices.Contains(declared.Roles, d.Role) && d.Pattern == d.Permission
	byOperator := d.Module == "" && slices.ContainsFunc(w.patterns, func(p patternRow) bool {
		return p.Role == d.Role && p.Pattern == d.Pattern && p.Granted
	})
	return assigned && Match(d.Pattern, d.Permission) && (byManifest || byOperator || d.Role == Admin && d.Pattern == everything)
}

// More grants, members and assignments never take anything away; what is taken away from a role never gives anybody more.
func TestMonotony(t *testing.T) {
	t.Parallel()
	eachWorld(t, func(t *testing.T, r *rand.Rand, w world) {
		before := w.index(t)
		more := []func(){
			func() { w.addPattern(r, true) }, func() { w.addAssignment(r) }, func() { w.addMember(r) },
		}
		less := []func(){
			func() { w.addPattern(r, false) },
			func() {
				w.patterns = slices.DeleteFunc(slices.Clone(w.patterns), func(p patternRow) bool { return p.Granted })
			},
			func() { w.assignments = w.assignments[:len(w.assignments)/2] },
			func() { w.members = w.members[:len(w.members)/2] },
			func() { delete(w.modules, "a") },
		}
		grows := r.IntN(2) == 0
		if grows {
			pick(r, more)()
		} else {
			pick(r, less)()
		}
		after := w.index(t)
		questions(func(user, permission string) {
			had, has := before.allows(user, permission), after.allows(user, permission)
			if grows && had && !has || !grows && has && !had {
				t.Errorf("%s %s: %t, then %t", user, permission, had, has)
			}
		})
	})
}

// What Revoke relies on: a pattern covers another if and only if it matches all that the other one matches.
func TestCovers(t *testing.T) {
	t.Parallel()
	patterns := append(allNames(), everything)
	for _, m := range moduleNames {
		patterns = append(patterns, m+".*")
		for _, s := range segments {
			patterns = append(patterns, m+"."+s+".*")
		}
	}
	universe := append(allNames(), "c.d.e", "a.x.other", "a.other.x")
	for _, m := range moduleNames {
		universe = append(universe, m+".o.p")
		for _, s := range segments {
			universe = append(universe, m+"."+s+".p")
		}
	}
	for _, wide := range patterns {
		for _, narrow := range patterns {
			all := !slices.ContainsFunc(universe, func(p string) bool { return Match(narrow, p) && !Match(wide, p) })
			require.Equal(t, all, covers(wide, narrow), "%s %s", wide, narrow)
		}
	}
}
