package cli

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// watched is a screen that tells when something appears on it.
type watched struct {
	want  string
	found chan struct{} // closed then

	mu   sync.Mutex
	text strings.Builder
	done bool
}

// Write implements io.Writer.
func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if !w.done && strings.Contains(w.text.String(), w.want) {
		w.done = true
		close(w.found)
	}
	return len(p), nil
}

// requireSoon waits for a value, or for the end, of a channel.
func requireSoon[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(deadline):
		t.Fatal("nothing happened")
	}
	return value
}
