package gateway

import (
	"context"
	"sync/atomic"
)

// tally counts things that end by themselves, and lets one goroutine wait for the last of them. Unlike a sync.WaitGroup it
// may grow while somebody waits.
type tally struct {
	n    atomic.Int64
	zero chan struct{} // receives after n became 0; holds one
}

func newTally() tally { return tally{zero: make(chan struct{}, 1)} }

func (t *tally) add(delta int64) {
	if t.n.Add(delta) != 0 {
		return
	}
	select {
	case t.zero <- struct{}{}:
	default: // the one that waits will look anyhow
	}
}

// wait returns true once nothing is left, or false when ctx ends first.
func (t *tally) wait(ctx context.Context) bool {
	for t.n.Load() != 0 {
		select {
		case <-t.zero:
		case <-ctx.Done():
			return t.n.Load() == 0
		}
	}
	return true
}
