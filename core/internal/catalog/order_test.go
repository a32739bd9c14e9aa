package catalog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// graph builds nodes from lines such as "blog 0.3.0: billing ^0.2, ?notify *"; ? marks an optional one.
func graph(t *testing.T, lines ...string) map[string]*node {
	t.Helper()
	nodes := map[string]*node{}
	for _, line := range lines {
		head, tail, _ := strings.Cut(line, ":")
		name, version, _ := strings.Cut(head, " ")
		if version == "" {
			version = "1.0.0"
		}
		n := &node{name: name, version: version, requires: map[string]string{}, optional: map[string]string{}}
		for dependency := range strings.SplitSeq(tail, ",") {
			addDependency(n, strings.TrimSpace(dependency))
		}
		nodes[name] = n
	}
	return nodes
}

func addDependency(n *node, text string) {
	name, constraint, _ := strings.Cut(text, " ")
	if constraint == "" {
		constraint = "*"
	}
	if option, optional := strings.CutPrefix(name, "?"); optional {
		n.optional[option] = constraint
	} else if name != "" {
		n.requires[name] = constraint
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		want  [][]string
	}{
		"nothing":            {nil, nil},
		"alone":              {[]string{"a"}, [][]string{{"a"}}},
		"independent":        {[]string{"c", "a", "b"}, [][]string{{"a", "b", "c"}}},
		"chain":              {[]string{"a: b", "b: c", "c"}, [][]string{{"c"}, {"b"}, {"a"}}},
		"diamond":            {[]string{"a: b, c", "b: d", "c: d", "d"}, [][]string{{"d"}, {"b", "c"}, {"a"}}},
		"longest way counts": {[]string{"a: b, d", "b: c", "c: d", "d"}, [][]string{{"d"}, {"c"}, {"b"}, {"a"}}},
		"optional orders":    {[]string{"a: ?b", "b"}, [][]string{{"b"}, {"a"}}},
		"optional, absent":   {[]string{"a: ?b"}, [][]string{{"a"}}},
		"optional, unfit":    {[]string{"a: ?b ^2", "b"}, [][]string{{"a", "b"}}},
		"optional, held":     {[]string{"a: ?b", "b: c"}, [][]string{{"a"}}},
		"optional circle":    {[]string{"a: ?b", "b: ?a"}, [][]string{{"b"}, {"a"}}},
		"half a circle":      {[]string{"a: ?b", "b: c", "c: a"}, [][]string{{"a"}, {"c"}, {"b"}}},
		"constraints":        {[]string{"a: b ^0.2", "b 0.2.7"}, [][]string{{"b"}, {"a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, order(graph(t, c.lines...), nil).levels)
		})
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	refused := map[string]error{"sick": &Error{Message: "sick is sick", Fix: "heal it"}}
	for name, c := range map[string]struct {
		lines []string
		held  map[string]string // message and fix
	}{
		"missing": {[]string{"blog: billing ^0.2"}, map[string]string{
			"blog": "blog requires billing ^0.2, which is not installed\n" +
				"fix: install billing ^0.2, or remove it from requires.modules of blog"}},
		"incompatible": {[]string{"blog: billing ^0.2", "billing 0.3.1"}, map[string]string{
			"blog": "blog requires billing ^0.2, but 0.3.1 is installed\n" +
				"fix: install billing ^0.2, or a blog made for billing 0.3.1"}},
		"prerelease": {[]string{"blog: billing >=0.1", "billing 0.2.0-rc.1"}, map[string]string{
			"blog": "blog requires billing >=0.1, but 0.2.0-rc.1 is installed, which is a prerelease: " +
				"a constraint admits those only if it names one, as >=0.2.0-0 does\n" +
				"fix: install billing >=0.1, or a blog made for billing 0.2.0-rc.1"}},
		"refused": {[]string{"blog: sick"}, map[string]string{
			"blog": "blog requires sick, which is refused: sick is sick\nfix: heal it"}},
		"two reasons": {[]string{"blog: aa, bb"}, map[string]string{
			"blog": "blog requires aa *, which is not installed\nfix: install aa *, or remove it from requires.modules of blog\n" +
				"blog requires bb *, which is not installed\nfix: install bb *, or remove it from requires.modules of blog"}},
		"chain": {[]string{"web: shop", "shop: blog", "blog: billing ^0.2"}, map[string]string{
			"blog": "blog requires billing ^0.2, which is not installed\n" +
				"fix: install billing ^0.2, or remove it from requires.modules of blog",
			"shop": "shop requires blog, which is held (shop → blog → billing): " +
				"blog requires billing ^0.2, which is not installed\n" +
				"fix: install billing ^0.2, or remove it from requires.modules of blog",
			"web": "web requires shop, which is held (web → shop → blog → billing): " +
				"blog requires billing ^0.2, which is not installed\n" +
				"fix: install billing ^0.2, or remove it from requires.modules of blog"}},
		"circle": {[]string{"b: c", "c: a", "a: b", "d: c", "e"}, map[string]string{
			"a": "modules require each other: a → b → c → a\nfix: remove one of these from requires.modules, or make it optional",
			"b": "modules require each other: a → b → c → a\nfix: remove one of these from requires.modules, or make it optional",
			"c": "modules require each other: a → b → c → a\nfix: remove one of these from requires.modules, or make it optional",
			"d": "d requires c, which is held (d → c): modules require each other: a → b → c → a\n" +
				"fix: remove one of these from requires.modules, or make it optional"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string]string{}
			for module, err := range order(graph(t, c.lines...), refused).held {
				got[module] = err.Error()
			}
			require.Equal(t, c.held, got)
		})
	}
}

func TestHeldErrorsCarryData(t *testing.T) {
	t.Parallel()
	held := order(graph(t, "a: b", "b: a, x", "shop: blog", "blog: billing"), nil).held
	var cycle *CycleError
	require.ErrorAs(t, held["b"], &cycle)
	require.Equal(t, []string{"a", "b", "a"}, cycle.Path)
	var e *Error
	require.ErrorAs(t, held["b"], &e)
	require.Equal(t, "dependency_missing", e.Code)
	require.ErrorAs(t, held["shop"], &e)
	require.Equal(t, "dependency_held", e.Code)
	require.Equal(t, []string{"shop", "blog", "billing"}, e.Chain)
	require.ErrorAs(t, e.Err, &e)
	require.Equal(t, "dependency_missing", e.Code)
}

func TestUnfitModuleHoldsItsDependents(t *testing.T) {
	t.Parallel()
	nodes := graph(t, "a: b", "b")
	nodes["b"].unfit = errors.New("b requires another platform\nfix: update")
	held := order(nodes, nil).held
	require.EqualError(t, held["b"], "b requires another platform\nfix: update")
	require.EqualError(t, held["a"], "a requires b, which is held (a → b): b requires another platform\nfix: update")
}

func TestOptionalWarnings(t *testing.T) {
	t.Parallel()
	plan := order(graph(t, "a: ?b ^2, ?absent", "b", "x: ?y", "y: x"), nil)
	require.Len(t, plan.warnings, 2)
	require.EqualError(t, plan.warnings["a"][0], "a would use b ^2, but 1.0.0 is installed; it starts without it\n"+
		"fix: install b ^2, or remove it from requires.optional of a")
	require.EqualError(t, plan.warnings["x"][0], "x would start after y, which itself starts after x: x starts first\n"+
		"fix: remove y from requires.optional of x")
	require.Empty(t, plan.held)
}

// random makes a graph of up to 12 modules with circles, absent, refused and incompatible dependencies.
func random(r *rand.Rand) (nodes map[string]*node, refused map[string]error) {
	nodes, refused = map[string]*node{}, map[string]error{"m90": errors.New("refused")}
	size, density := 1+r.IntN(12), r.Float64()*0.4
	for i := range size {
		name := fmt.Sprintf("m%02d", i)
		nodes[name] = &node{name: name, version: "1.0.0", requires: map[string]string{}, optional: map[string]string{}}
		for j := range size {
			other := fmt.Sprintf("m%02d", j)
			if r.IntN(60) == 0 {
				other = []string{"m90", "m91"}[r.IntN(2)]
			}
			constraint := "^1"
			if r.IntN(40) == 0 {
				constraint = "^2"
			}
			switch {
			case other == name || r.Float64() > density:
			case r.IntN(4) == 0:
				nodes[name].optional[other] = constraint
			case j < i || r.IntN(8) == 0: // few edges lead upwards, so that not all graphs are one knot
				nodes[name].requires[other] = constraint
			}
		}
	}
	return nodes, refused
}

// startable says by brute force which modules can start at all: those whose dependencies can, again and again.
func startable(nodes map[string]*node) map[string]bool {
	started := map[string]bool{}
	for changed := true; changed; {
		changed = false
		for name, n := range nodes {
			ready := !started[name]
			for dependency, constraint := range n.requires {
				ready = ready && started[dependency] && constraint != "^2"
			}
			if ready {
				started[name], changed = true, true
			}
		}
	}
	return started
}

func TestOrderProperties(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	circles, deep, warned := 0, 0, 0
	for range 2000 {
		nodes, refused := random(r)
		plan := order(nodes, refused)
		require.Equal(t, plan, order(nodes, refused), "the plan must not depend on the maps' order")
		at := checkLevels(t, nodes, plan)
		checkOptional(t, nodes, plan, at)
		circles += checkHeld(t, nodes, plan)
		warned += len(plan.warnings)
		if len(plan.levels) > 3 {
			deep++
		}
	}
	require.Greater(t, circles, 200, "the graphs must have circles")
	require.Greater(t, deep, 200, "the graphs must have levels")
	require.Greater(t, warned, 200, "the graphs must have options that do not fit")
}

// checkLevels returns each started module's level.
func checkLevels(t *testing.T, nodes map[string]*node, plan ordering) map[string]int {
	t.Helper()
	at := map[string]int{}
	for i, level := range plan.levels {
		require.True(t, slices.IsSorted(level))
		require.NotEmpty(t, level)
		for _, name := range level {
			require.NotContains(t, at, name, "started twice")
			at[name] = i
		}
	}
	can := startable(nodes)
	for name, n := range nodes {
		level, started := at[name]
		require.Equal(t, can[name], started, name)
		require.Equal(t, !started, plan.held[name] != nil, name)
		if !started {
			continue
		}
		for dependency := range n.requires {
			require.Contains(t, plan.after[name], dependency)
		}
		last := -1
		for _, before := range plan.after[name] {
			require.Less(t, at[before], level, "%s starts before %s", name, before)
			last = max(last, at[before])
		}
		require.Equal(t, last+1, level, "%s could start earlier", name)
	}
	return at
}

// checkOptional makes sure that an option that is there and fits is waited for, unless it waits itself.
func checkOptional(t *testing.T, nodes map[string]*node, plan ordering, at map[string]int) {
	t.Helper()
	for name, n := range nodes {
		for option, constraint := range n.optional {
			_, there := at[option]
			if _, started := at[name]; !started || !there || constraint == "^2" || slices.Contains(plan.after[name], option) {
				continue
			}
			require.Less(t, at[name], at[option], "%s passed over its option %s", name, option)
			require.NotEmpty(t, plan.warnings[name])
		}
	}
}

// checkHeld returns how many of the held modules are in a circle.
func checkHeld(t *testing.T, nodes map[string]*node, plan ordering) int {
	t.Helper()
	circles := 0
	for name, err := range plan.held {
		require.Contains(t, err.Error(), "\nfix: ")
		var cycle *CycleError
		if !errors.As(err, &cycle) || !slices.Contains(cycle.Path, name) {
			continue
		}
		circles++
		last := len(cycle.Path) - 1
		require.Equal(t, cycle.Path[0], cycle.Path[last])
		require.Equal(t, slices.Min(cycle.Path), cycle.Path[0])
		for i := range last {
			require.Contains(t, nodes[cycle.Path[i]].requires, cycle.Path[i+1])
		}
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(cycle.Path))), last, "a module is in it twice: %v", cycle.Path)
	}
	return circles
}

func TestServicesThatNobodyProvides(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines    []string
		provides map[string][]string
		held     string
		warning  string
	}{
		"provided":                       {[]string{"a: b", "b"}, map[string][]string{"b": {"x.X"}}, "", ""},
		"provided by an optional module": {[]string{"a: b, ?c", "b", "c"}, map[string][]string{"c": {"x.X"}}, "", ""},
		"provided twice":                 {[]string{"a: b, c", "b", "c"}, map[string][]string{"b": {"x.X"}, "c": {"x.X"}}, "", ""},
		"provided by nobody": {[]string{"a: b", "b"}, nil,
			"a calls x.X, which no module that it requires provides\nfix: install a version that provides it, or name ", ""},
		"provided by a module that it does not require": {[]string{"a: b", "b", "c"}, map[string][]string{"c": {"x.X"}},
			"a calls x.X, which no module that it requires provides\nfix: ", ""},
		"an optional module is there without it": {[]string{"a: ?b", "b"}, nil, "a calls x.X, which no module", ""},
		"an optional module is not there": {[]string{"a: b, ?c, ?d", "b"}, nil, "",
			"a calls x.X, which no installed module that it requires provides; those calls will fail\nfix: install c, if"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := graph(t, c.lines...)
			nodes["a"].consumes = []string{"x.X"}
			for module, services := range c.provides {
				nodes[module].provides = services
			}
			plan := order(nodes, nil)
			if c.held == "" {
				require.NoError(t, plan.held["a"])
			} else {
				require.ErrorContains(t, plan.held["a"], c.held)
			}
			if c.warning == "" {
				require.Empty(t, plan.warnings["a"])
				return
			}
			require.Len(t, plan.warnings["a"], 1)
			require.ErrorContains(t, plan.warnings["a"][0], c.warning)
		})
	}
}
