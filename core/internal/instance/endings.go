package instance

import "sync"

// endings is what is to be done at the end of an instance, each once. The zero value is ready.
type endings struct {
	mu   sync.Mutex
	over bool
	acts []func()
}

func (e *endings) add(act func()) {
	e.mu.Lock()
	over := e.over
	if !over {
		e.acts = append(e.acts, act)
	}
	e.mu.Unlock()
	if over {
		act()
	}
}

func (e *endings) run() {
	e.mu.Lock()
	acts := e.acts
	e.over, e.acts = true, nil
	e.mu.Unlock()
	for _, act := range acts {
		act()
	}
}
