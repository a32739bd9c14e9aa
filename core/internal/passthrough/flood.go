package passthrough

import "time"

const (
	// floodBurst is how many frames that carry nothing a peer may send at once, floodRate how many more each second. Each DATA
	// frame earns one more: gRPC's own pings come with those.
	floodBurst = 10_000
	floodRate  = 2000
)

// flood bounds frames that cost work and carry nothing: pings, settings, resets, empty DATA. The zero value is ready.
type flood struct {
	used int
	at   time.Time
}

// allow takes account of such a frame, and reports whether the peer may still send it.
func (f *flood) allow() bool {
	if f.used++; f.used <= floodBurst {
		return true
	}
	now := time.Now()
	if f.at.IsZero() {
		f.at = now // only who has used up the burst is looked at closely
	}
	earned := int(now.Sub(f.at) * floodRate / time.Second)
	if earned > 0 {
		f.used, f.at = max(0, f.used-earned), now
	}
	return f.used <= floodBurst+floodRate
}

func (f *flood) earn() {
	if f.used > 0 {
		f.used--
	}
}
