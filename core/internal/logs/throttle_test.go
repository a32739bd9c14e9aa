package logs

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// TestThrottle: a flood costs the core no more than its burst, whoever floods is told, and the next line passes.
func TestThrottle(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l, err := New(Options{Output: &out, Format: "json"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	now := time.Unix(0, 0)
	throttle := NewThrottle()
	throttle.now = func() time.Time { return now }
	throttle.flow = rate.NewLimiter(rate.Inf, 0)
	noisy := NewModuleWriter(l.Logger.Named("module.noisy"), throttle)
	calm := NewModuleWriter(l.Logger.Named("module.calm"), NewThrottle())

	const flood = 20_000 // lines of 1 KiB: 20 MiB
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for i := range flood {
		if i == flood/2 {
			now = now.Add(dropPause)
		}
		_, err := noisy.Write(line)
		require.NoError(t, err)
	}
	_, err = calm.Write([]byte("still here\n"))
	require.NoError(t, err)
	admitted := flood - throttle.Dropped()
	require.InDelta(t, (throttleBurst+throttleRate)/(1024+recordCost), admitted, 10)

	now = now.Add(dropPause)
	_, err = noisy.Write([]byte("after the flood\n"))
	require.NoError(t, err)
	kept := l.Store.Tail(Filter{Module: "noisy"})
	require.Equal(t, "after the flood", kept[len(kept)-1].Message)
	said := 0
	for record := range bytes.Lines(out.Bytes()) {
		var report struct {
			Lines int `json:"lines"`
		}
		require.NoError(t, json.Unmarshal(record, &report))
		said += report.Lines
	}
	require.Equal(t, throttle.Dropped(), said, "every line that is missing has been counted")
	require.Len(t, l.Store.Tail(Filter{Module: "calm"}), 1)
}

// TestAFloodIsHeldBack: it costs the core what it takes to read flowRate, not what the module can print.
func TestAFloodIsHeldBack(t *testing.T) {
	t.Parallel()
	l, err := New(Options{Output: io.Discard, Format: "json"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	w := NewModuleWriter(l.Logger.Named("module.noisy"), NewThrottle())
	block := bytes.Repeat([]byte("x"), 64<<10)
	began := time.Now()
	for range (throttleBurst + flowRate/4) / len(block) {
		_, err := w.Write(block)
		require.NoError(t, err)
	}
	require.GreaterOrEqual(t, time.Since(began), 240*time.Millisecond)
}

// TestWhatWasDroppedLastIsSaid when the stream ends, as it does when the process has died of it.
func TestWhatWasDroppedLastIsSaid(t *testing.T) {
	t.Parallel()
	l, err := New(Options{Output: io.Discard, Format: "json"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	throttle := NewThrottle()
	throttle.now = func() time.Time { return time.Unix(0, 0) }
	throttle.flow = rate.NewLimiter(rate.Inf, 0)
	w := NewModuleWriter(l.Logger.Named("module.noisy"), throttle)
	_, err = w.Write(bytes.Repeat([]byte("x\n"), 2*throttleBurst/recordCost))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	last := l.Store.Tail(Filter{Module: "noisy", N: 1})[0]
	require.Contains(t, last.Message, "dropped")
}
