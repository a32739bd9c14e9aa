package main

import "sync"

// backlog is how many posts a reader may be behind before it is dropped.
const backlog = 64

// hub passes new posts on to all who follow. It is safe for concurrent use, and never waits for a reader.
type hub struct {
	mu      sync.Mutex
	readers map[chan Post]struct{} // nil once closed
}

func newHub() *hub { return &hub{readers: map[chan Post]struct{}{}} }

// join returns a channel of the posts from now on. It is closed when the reader leaves, falls too far behind, or the hub
// closes.
func (h *hub) join() (posts <-chan Post, leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	reader := make(chan Post, backlog)
	if h.readers == nil {
		close(reader)
		return reader, func() {}
	}
	h.readers[reader] = struct{}{}
	return reader, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drop(reader)
	}
}

func (h *hub) publish(post Post) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for reader := range h.readers {
		select {
		case reader <- post:
		default: // one slow reader must not hold up the writers and the other readers
			h.drop(reader)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for reader := range h.readers {
		h.drop(reader)
	}
	h.readers = nil
}

// drop ends a reader once; h.mu is held.
func (h *hub) drop(reader chan Post) {
	if _, here := h.readers[reader]; here {
		delete(h.readers, reader)
		close(reader)
	}
}
