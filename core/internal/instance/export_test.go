package instance

import "time"

// MaxAnswer is for tests of what is read of one process at most.
const MaxAnswer = maxAnswer

// Calm ends the surge that follows each change of a module's instances.
func Calm(r *Registry, module string) { setCalm(r, module, time.Time{}) }

// Surge begins one, and wakes nobody.
func Surge(r *Registry, module string) { setCalm(r, module, time.Now().Add(time.Hour)) }

func setCalm(r *Registry, module string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed := *r.entries[module]
	changed.calm = at
	r.entries[module] = &changed
}
