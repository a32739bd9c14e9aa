package mux

import "sync"

// maxIdleWorkers bounds the goroutines that wait for work.
const maxIdleWorkers = 64

// workers runs exchanges on goroutines that are used again: their stacks have grown already, which a new one's would have to
// for every request. The zero value is ready.
type workers struct {
	mu     sync.Mutex
	idle   []chan *incoming
	closed bool
}

// run serves x on a goroutine.
func (w *workers) run(x *incoming) {
	w.mu.Lock()
	last := len(w.idle) - 1
	if last < 0 {
		w.mu.Unlock()
		go w.work(x)
		return
	}
	worker := w.idle[last]
	w.idle = w.idle[:last]
	w.mu.Unlock()
	worker <- x
}

func (w *workers) work(x *incoming) {
	jobs := make(chan *incoming, 1)
	for x != nil {
		x.serve()
		if !w.wait(jobs) {
			return
		}
		x = <-jobs
	}
}

// wait makes a worker wait for jobs; false means that it is not needed.
func (w *workers) wait(jobs chan *incoming) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= maxIdleWorkers {
		return false
	}
	w.idle = append(w.idle, jobs)
	return true
}

// close ends the workers that wait. Those that work end with what they do.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, jobs := range w.idle {
		close(jobs)
	}
	w.idle = nil
}
