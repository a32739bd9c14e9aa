package supervisor

import "context"

// Add has one more module run, after those that it depends on, and returns when it is ready; or with a *StateError that says why
// it does not become so soon, while it is kept trying as any other.
func (s *Supervisor) Add(ctx context.Context, mod *Module) error {
	r := newRunner(s.deps, mod, relatives{s})
	s.mu.Lock()
	if s.begin == nil {
		s.mu.Unlock()
		return errStopping
	}
	s.runners[r.name] = r
	s.begin(r)
	s.mu.Unlock()
	select {
	case <-r.settled:
	case <-ctx.Done():
		return ctx.Err()
	}
	if now := r.current(); now.State != Ready {
		return &StateError{Module: r.name, State: now.State, Reason: now.Reason}
	}
	return nil
}

// Remove stops modules, each after those of them that depend on it, and returns when they are no more: the supervisor does not
// know them then. It takes as long as their stopTimeouts. Names that it does not know change nothing.
func (s *Supervisor) Remove(names ...string) {
	var gone []*runner
	for _, r := range (relatives{s}).named(names) {
		if r.toLeave() {
			gone = append(gone, r)
		}
	}
	for _, r := range gone {
		close(r.left)
	}
	for _, r := range gone {
		<-r.stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range gone {
		delete(s.runners, r.name)
	}
}

// toLeave marks the runner before any other begins to stop; false if somebody has already.
func (r *runner) toLeave() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.leaving
	r.leaving = true
	return first
}

// Runs tells whether the supervisor has a module, in whatever state.
func (s *Supervisor) Runs(module string) bool { return s.runner(module) != nil }

// Holds tells whether a module waits for others, so that no instance of it has been launched yet, nor can an Upgrade be.
func (s *Supervisor) Holds(module string) bool {
	r := s.runner(module)
	return r != nil && r.current().State == Held
}
