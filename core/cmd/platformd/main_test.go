package main

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"
)

// goal is the size of the heap at which garbage is collected next, in bytes.
func goal() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func TestASmallHeapIsCollectedLate(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := goal()
	kept := collectLate()
	require.Greater(t, goal(), before+smallHeap)
	runtime.KeepAlive(kept)
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Setenv(name, "100")
		require.Empty(t, collectLate(), name)
		t.Setenv(name, "")
	}
}
