package catalog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// node is one module as the planner sees it.
type node struct {
	name, version      string
	requires, optional map[string]string // name → constraint on the version
	unfit              error             // why it cannot run whatever the others are
	provides, consumes []string          // gRPC services
}

// ordering is what the planner finds out, by the modules' names.
type ordering struct {
	levels   [][]string // sorted within a level
	after    map[string][]string
	held     map[string]error
	warnings map[string][]error
}

// order plans the start. It is a pure function; the same modules always give the same plan. refused holds the modules that
// are there but were refused.
func order(nodes map[string]*node, refused map[string]error) ordering {
	p := &planner{nodes: nodes, refused: refused, behind: map[string]set{}, reasons: map[string][]error{},
		plan: ordering{after: map[string][]string{}, held: map[string]error{}, warnings: map[string][]error{}}}
	for _, name := range p.names() {
		p.behind[name] = p.reachable(name)
	}
	for _, name := range p.names() {
		if reasons := p.hold(name); len(reasons) > 0 {
			p.plan.held[name] = joined(reasons)
		}
	}
	p.link()
	p.level()
	return p.plan
}

type set = map[string]bool

type planner struct {
	nodes   map[string]*node
	refused map[string]error
	behind  map[string]set // what each node requires, directly or through others
	reasons map[string][]error
	plan    ordering
}

func (p *planner) names() []string { return slices.Sorted(maps.Keys(p.nodes)) }

// required returns what a node requires and is there, whatever its version, sorted.
func (p *planner) required(name string) []string {
	there := func(dependency string) bool { return p.nodes[dependency] != nil }
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.nodes[name].requires)), func(d string) bool { return !there(d) })
}

func (p *planner) reachable(name string) set {
	reached := set{}
	for queue := p.required(name); len(queue) > 0; queue = queue[1:] {
		if next := queue[0]; !reached[next] {
			reached[next] = true
			queue = append(queue, p.required(next)...)
		}
	}
	return reached
}

// hold finds out why a node must not start, and remembers it. It follows only dependencies that do not lead back, so that
// it ends.
func (p *planner) hold(name string) []error {
	if known, done := p.reasons[name]; done {
		return known
	}
	n, reasons := p.nodes[name], []error{}
	if n.unfit != nil {
		reasons = append(reasons, n.unfit)
	}
	if p.behind[name][name] {
		reasons = append(reasons, &CycleError{Path: p.cycle(name)})
	}
	for _, dependency := range slices.Sorted(maps.Keys(n.requires)) {
		if err := p.missing(n, dependency); err != nil {
			reasons = append(reasons, err)
		}
	}
	if len(reasons) == 0 {
		reasons = p.unprovided(n)
	}
	p.reasons[name] = reasons
	return reasons
}

func joined(reasons []error) error {
	if len(reasons) == 1 {
		return reasons[0]
	}
	return errors.Join(reasons...)
}

// missing returns why n cannot have a dependency, or nil.
func (p *planner) missing(n *node, name string) error {
	dependency, constraint := p.nodes[name], n.requires[name]
	switch {
	case dependency == nil && p.refused[name] != nil:
		return refusedDependency(n, name, p.refused[name])
	case dependency == nil:
		return &Error{Code: "dependency_missing", Chain: []string{n.name, name},
			Message: fmt.Sprintf("%s requires %s %s, which is not installed", n.name, name, constraint),
			Fix:     fmt.Sprintf("install %s %s, or remove it from requires.modules of %s", name, constraint, n.name)}
	case !admits(constraint, dependency.version):
		return incompatible(n, dependency, constraint)
	case p.behind[name][n.name]:
		return nil // the circle has been named
	}
	if reasons := p.hold(name); len(reasons) > 0 {
		return heldDependency(n, name, reasons[0])
	}
	return nil
}

func admits(constraint, version string) bool {
	c, badConstraint := semver.NewConstraint(constraint)
	v, badVersion := semver.NewVersion(version)
	return badConstraint == nil && badVersion == nil && c.Check(v)
}

func incompatible(n, dependency *node, constraint string) *Error {
	message := fmt.Sprintf("%s requires %s %s, but %s is installed", n.name, dependency.name, constraint, dependency.version)
	if strings.Contains(dependency.version, "-") {
		message += ", which is a prerelease: a constraint admits those only if it names one, as >=0.2.0-0 does"
	}
	return &Error{Code: "dependency_incompatible", Chain: []string{n.name, dependency.name}, Message: message,
		Fix: fmt.Sprintf("install %s %s, or a %s made for %s %s", dependency.name, constraint, n.name, dependency.name,
			dependency.version)}
}

func refusedDependency(n *node, name string, cause error) *Error {
	message, fix := firstMessage(cause)
	return &Error{Code: "dependency_refused", Chain: []string{n.name, name}, Err: cause, Fix: fix,
		Message: fmt.Sprintf("%s requires %s, which is refused: %s", n.name, name, message)}
}

// heldDependency names the whole chain down to the module at fault, and the fault itself rather than each link's.
func heldDependency(n *node, name string, cause error) *Error {
	chain := []string{n.name, name}
	var deeper *Error
	if errors.As(cause, &deeper) && len(deeper.Chain) > 0 {
		chain = append([]string{n.name}, deeper.Chain...)
		if deeper.Code == "dependency_held" {
			cause = deeper.Err
		}
	}
	message, fix := firstMessage(cause)
	return &Error{Code: "dependency_held", Chain: chain, Err: cause, Fix: fix,
		Message: fmt.Sprintf("%s requires %s, which is held (%s): %s", n.name, name, strings.Join(chain, " → "), message)}
}

// cycle returns the shortest way from a node back to itself, turned so that it begins with the least name.
func (p *planner) cycle(name string) []string {
	from := map[string]string{}
	queue := []string{name}
	for from[name] == "" {
		for _, next := range p.required(queue[0]) {
			if from[next] == "" {
				from[next] = queue[0]
				queue = append(queue, next)
			}
		}
		queue = queue[1:]
	}
	path := []string{}
	for at := from[name]; at != name; at = from[at] {
		path = append(path, at)
	}
	path = append(path, name)
	slices.Reverse(path)
	first := slices.Index(path, slices.Min(path))
	return append(slices.Concat(path[first:], path[:first]), path[first])
}

// link decides after which others each node starts. An optional dependency orders, but it never holds anybody: one that is
// absent, unfit or held is passed over, and so is one that would close a circle.
func (p *planner) link() {
	for _, name := range p.names() {
		if p.plan.held[name] == nil {
			p.plan.after[name] = p.required(name)
			p.warnOfServices(p.nodes[name])
		}
	}
	for _, name := range p.names() {
		n := p.nodes[name]
		for _, option := range slices.Sorted(maps.Keys(n.optional)) {
			if p.plan.held[name] == nil && p.nodes[option] != nil && p.plan.held[option] == nil {
				p.linkOptional(n, p.nodes[option])
			}
		}
	}
}

func (p *planner) linkOptional(n, option *node) {
	constraint := n.optional[option.name]
	switch {
	case !admits(constraint, option.version):
		p.warn(n.name, &Error{Code: "optional_incompatible",
			Message: fmt.Sprintf("%s would use %s %s, but %s is installed; it starts without it", n.name, option.name, constraint,
				option.version),
			Fix: fmt.Sprintf("install %s %s, or remove it from requires.optional of %s", option.name, constraint, n.name)})
	case p.waitsFor(option.name, n.name):
		p.warn(n.name, &Error{Code: "optional_circle",
			Message: fmt.Sprintf("%s would start after %s, which itself starts after %s: %s starts first", n.name, option.name,
				n.name, n.name),
			Fix: fmt.Sprintf("remove %s from requires.optional of %s", option.name, n.name)})
	default:
		p.plan.after[n.name] = slices.Sorted(slices.Values(append(p.plan.after[n.name], option.name)))
	}
}

func (p *planner) warn(name string, warning error) {
	p.plan.warnings[name] = append(p.plan.warnings[name], warning)
}

// waitsFor reports whether a starts after b, directly or through others.
func (p *planner) waitsFor(a, b string) bool {
	seen := set{}
	for queue := []string{a}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == b {
			return true
		}
		if !seen[queue[0]] {
			seen[queue[0]] = true
			queue = append(queue, p.plan.after[queue[0]]...)
		}
	}
	return false
}

// level puts each node that is not held into the first level after those of everything it waits for.
func (p *planner) level() {
	depths := map[string]int{}
	for _, name := range p.names() {
		if p.plan.held[name] != nil {
			continue
		}
		depth := p.depth(name, depths)
		for len(p.plan.levels) <= depth {
			p.plan.levels = append(p.plan.levels, nil)
		}
		p.plan.levels[depth] = append(p.plan.levels[depth], name)
	}
}

func (p *planner) depth(name string, known map[string]int) int {
	if depth, done := known[name]; done {
		return depth
	}
	depth := 0
	for _, before := range p.plan.after[name] {
		depth = max(depth, p.depth(before, known)+1)
	}
	known[name] = depth
	return depth
}
