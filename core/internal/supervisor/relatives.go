package supervisor

import "slices"

// relatives finds those runners whose modules have to do with each other, as their present versions say.
type relatives struct{ of *Supervisor }

// after are those that r starts after, and stops before.
func (f relatives) after(r *runner) []*runner { return f.named(r.module().After) }

// requires are those of them that must not have failed for good.
func (f relatives) requires(r *runner) []*runner {
	mod := r.module()
	required := slices.DeleteFunc(slices.Clone(mod.After), func(name string) bool {
		_, required := mod.Manifest.Requires.Modules[name]
		return !required
	})
	return f.named(required)
}

// named leaves out who is not run: whoever requires it is held and not here.
func (f relatives) named(names []string) (found []*runner) {
	f.of.mu.RLock()
	defer f.of.mu.RUnlock()
	for _, name := range names {
		if r := f.of.runners[name]; r != nil {
			found = append(found, r)
		}
	}
	return found
}

// leavingBefore are those that stop before r, which is stopping: where the platform goes on, only some of them do at all.
func (f relatives) leavingBefore(r *runner) []*runner {
	alone := r.isLeaving()
	return slices.DeleteFunc(f.of.snapshot(), func(other *runner) bool {
		return !slices.Contains(other.module().After, r.name) || alone && !other.isLeaving()
	})
}
