package supervisor

import (
	"context"
	"errors"
	"fmt"
)

// ErrUnknownModule is what orders about a module fail with that the supervisor does not run.
var ErrUnknownModule = errors.New("no such module is supervised")

// StateError says that an order cannot be followed in the state that the module is in.
type StateError struct {
	Module string
	State  State
	Reason string
}

// Error implements error.
func (e *StateError) Error() string {
	return fmt.Sprintf("module %s is %s: %s", e.Module, e.State, e.Reason)
}

// Restart replaces every instance of a module by a new process, one after the other, each before its predecessor stops, so
// that no request fails; a module that does not run is started. It returns when the last predecessor has ended, or with the
// reason why a new process did not become ready: then the old ones go on.
func (s *Supervisor) Restart(ctx context.Context, module string) error {
	return s.order(ctx, module, (*machine).restart)
}

// Start launches a module that was stopped, that failed or that is in a crash loop, and returns when it is ready.
func (s *Supervisor) Start(ctx context.Context, module string) error {
	return s.order(ctx, module, (*machine).start)
}

// Stop ends a module's instances in order and leaves it stopped, until Start or Restart, or until the core starts again.
func (s *Supervisor) Stop(ctx context.Context, module string) error {
	r := s.runner(module)
	if r == nil {
		return ErrUnknownModule
	}
	return r.order(ctx, func(m *machine) []action {
		r.breakOff()
		return m.stop()
	})
}

// Crashes returns what is kept of a module's last crashes, the newest first.
func (s *Supervisor) Crashes(module string) ([]Crash, error) {
	r := s.runner(module)
	if r == nil {
		return nil, ErrUnknownModule
	}
	return r.dossiers.list(), nil
}

func (s *Supervisor) runner(module string) *runner {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.runners[module]
}

func (s *Supervisor) order(ctx context.Context, module string, begin func(*machine) []action) error {
	r := s.runner(module)
	if r == nil {
		return ErrUnknownModule
	}
	return r.order(ctx, begin)
}

// order begins something, and returns when the module has settled.
func (r *runner) order(ctx context.Context, begin func(*machine) []action) error {
	result := make(chan error, 1)
	alive := r.report(func() {
		if state, reason := r.machine.state(); !r.machine.begun {
			result <- &StateError{Module: r.name, State: state, Reason: reason}
			return
		}
		r.stopReason = "an operator stopped it"
		r.orders = append(r.orders, result)
		r.perform(begin(r.machine))
	})
	if !alive {
		return errStopping
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliver tells everybody who waits how it went.
func (r *runner) deliver(err error) {
	for _, order := range r.orders {
		order <- err
	}
	r.orders = nil
}
