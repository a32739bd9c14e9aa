package catalog

import (
	"cmp"
	"errors"
	"slices"
)

// Take returns a catalog that is as c, except that the modules of these names are as they are in another one: there, refused, or
// absent. What is held is found out anew. c is not changed.
func (c *Catalog) Take(from *Catalog, names ...string) *Catalog {
	taken := func(name string) bool { return slices.Contains(names, name) }
	next := &Catalog{platform: c.platform}
	for _, source := range []*Catalog{c, from} {
		for _, m := range source.Modules {
			if taken(m.Manifest.Name) == (source == from) {
				mine := *m // plan changes it
				next.Modules = append(next.Modules, &mine)
			}
		}
		for _, p := range source.Problems {
			if taken(p.Name) == (source == from) {
				next.Problems = append(next.Problems, p)
			}
		}
		if from == c {
			break
		}
	}
	slices.SortFunc(next.Modules, func(a, b *Module) int { return cmp.Compare(a.Manifest.Name, b.Manifest.Name) })
	slices.SortStableFunc(next.Problems, func(a, b Problem) int { return cmp.Compare(a.Dir, b.Dir) })
	next.plan()
	return next
}

// May tells whether a module is there and may start; if not, why.
func (c *Catalog) May(name string) (bool, error) {
	if m := c.Get(name); m != nil {
		return m.Held == nil, m.Held
	}
	for _, p := range c.Problems {
		if p.Name == name {
			return false, p.Err
		}
	}
	return false, nil
}

// Names returns those of all modules, the refused ones among them, sorted.
func (c *Catalog) Names() []string {
	var names []string
	for _, m := range c.Modules {
		names = append(names, m.Manifest.Name)
	}
	for _, p := range c.Problems {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// same tells whether a module is in both catalogs what it is in the other.
func (c *Catalog) same(other *Catalog, name string) bool {
	mine, theirs := c.Get(name), other.Get(name)
	if mine != nil && theirs != nil {
		return mine.Revision == theirs.Revision
	}
	_, why := c.May(name)
	_, theirWhy := other.May(name)
	return mine == theirs && text(why) == text(theirWhy)
}

// Same tells whether two catalogs say the same of every module.
func (c *Catalog) Same(other *Catalog) bool {
	names := c.Names()
	if !slices.Equal(names, other.Names()) {
		return false
	}
	for _, name := range names {
		_, why := c.May(name)
		_, theirWhy := other.May(name)
		if !c.same(other, name) || text(why) != text(theirWhy) {
			return false
		}
	}
	return true
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Act is what a Step does.
type Act string

// The acts.
const (
	ActStart   Act = "start"   // it did not run
	ActUpgrade Act = "upgrade" // its revision is another one
	ActStop    Act = "stop"    // it is gone, or may not run any more
)

// Step is what a change means for one module.
type Step struct {
	Name string
	Act  Act
}

// Change is how a running platform comes from one catalog to another.
type Change struct {
	// Next is the catalog when every step has been done.
	Next *Catalog
	// Steps are in the order of starts, what stops at the end.
	Steps []Step
	// Refused is what of the other catalog is not taken over, and why: it would end modules that run.
	Refused []Problem
}

// Plan compares what runs with what is wanted. It is a pure function. A module that runs is stopped only because it is gone, or
// because of a reason that wished says is somebody's wish; everything else that would end it is refused, and remains as it is.
func Plan(now, wanted *Catalog, wished func(error) bool) *Change {
	change := &Change{Next: wanted}
	for {
		culprits, why := change.Next.ends(now, wished)
		if len(culprits) == 0 {
			break
		}
		for _, name := range culprits {
			change.Refused = append(change.Refused, Problem{Name: name, Dir: dirOf(wanted, now, name), Err: why})
		}
		change.Next = change.Next.Take(now, culprits...)
	}
	change.steps(now)
	return change
}

func (c *Change) steps(now *Catalog) {
	for _, level := range c.Next.Levels() {
		for _, m := range level {
			name := m.Manifest.Name
			if runs, _ := now.May(name); !runs {
				c.Steps = append(c.Steps, Step{Name: name, Act: ActStart})
			} else if !now.same(c.Next, name) {
				c.Steps = append(c.Steps, Step{Name: name, Act: ActUpgrade})
			}
		}
	}
	for _, level := range slices.Backward(now.Levels()) {
		for _, m := range level {
			if may, _ := c.Next.May(m.Manifest.Name); !may {
				c.Steps = append(c.Steps, Step{Name: m.Manifest.Name, Act: ActStop})
			}
		}
	}
}

// ends finds a module that runs now, could not run as c has it, and whose end nobody wishes. It returns the modules whose change
// is to blame for that, and the reason; nothing if there is none.
func (c *Catalog) ends(now *Catalog, wished func(error) bool) (culprits []string, why error) {
	for _, m := range now.Modules {
		name := m.Manifest.Name
		may, why := c.May(name)
		if m.Held != nil || may || why == nil || wished(why) {
			continue
		}
		if !now.same(c, name) {
			return []string{name}, why
		}
		for _, dependency := range c.needed(now, name) {
			if _, gone := c.May(dependency); !now.same(c, dependency) && !wished(gone) {
				culprits = append(culprits, dependency)
			}
		}
		if len(culprits) > 0 {
			return culprits, why
		}
	}
	return nil, nil
}

// needed is what a module requires, in one of the catalogs, directly or through others.
func (c *Catalog) needed(now *Catalog, name string) []string {
	found := []string{name}
	for i := 0; i < len(found); i++ {
		for _, in := range []*Catalog{c, now} {
			m := in.Get(found[i])
			if m == nil {
				continue
			}
			for dependency := range m.Manifest.Requires.Modules {
				if !slices.Contains(found, dependency) {
					found = append(found, dependency)
				}
			}
		}
	}
	slices.Sort(found[1:])
	return found[1:]
}

func dirOf(wanted, now *Catalog, name string) string {
	for _, in := range []*Catalog{wanted, now} {
		if m := in.Get(name); m != nil {
			return m.Dir
		}
		for _, p := range in.Problems {
			if p.Name == name {
				return p.Dir
			}
		}
	}
	return ""
}

// Allows says whether modules may become what they are in next, while the platform is as c has it: what is to run must be able to
// then, and so must all that runs now, unless next has it stop anyhow.
func (c *Catalog) Allows(next *Catalog, names ...string) error {
	then := c.Take(next, names...)
	for _, m := range next.Modules {
		name := m.Manifest.Name
		runs, _ := c.May(name)
		if m.Held != nil || !runs && !slices.Contains(names, name) {
			continue
		}
		if may, why := then.May(name); !may {
			return cmp.Or(why, errors.New("it is gone"))
		}
	}
	return nil
}
