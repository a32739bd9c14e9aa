package plugintest

import (
	"io"
	"sync"
)

// output passes the module's log on to the test until the test ends, which panics at any later line.
type output struct {
	mu sync.Mutex
	to io.Writer // nil once closed
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.to == nil {
		return len(p), nil
	}
	return o.to.Write(p)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = nil
}
