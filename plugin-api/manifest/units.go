package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The defaults that Parse fills in.
const (
	defaultMaxBody = Size(1 << 20)
	defaultTimeout = Duration(30 * time.Second) // of a route that is not a stream
	defaultPhase   = Duration(10 * time.Second) // startTimeout and stopTimeout

)

// Size is a number of bytes, written with its unit: "512B", "16KiB", "1MiB", "2GiB". A parsed Size is positive.
type Size int64

type unit struct {
	name  string
	bytes int64
}

// units is ordered so that "B", the ending of all others, is tried last.
func units() []unit {
	return []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// UnmarshalText implements encoding.TextUnmarshaler. Its error is an *Error without a place.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range units() {
		digits, found := strings.CutSuffix(string(text), u.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || n == 0 || int64(n) > math.MaxInt64/u.bytes {
			break
		}
		*s = Size(int64(n) * u.bytes)
		return nil
	}
	return &Error{
		Code:    "bad_size",
		Message: fmt.Sprintf("%q is not a size", text),
		Fix:     "write a positive whole number and its unit (B, KiB, MiB or GiB), for example 1MiB",
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// Duration is a length of time, written with its unit: "500ms", "30s", "1h30m". A parsed Duration is positive.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler. Its error is an *Error without a place.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed <= 0 {
		return &Error{
			Code:    "bad_duration",
			Message: fmt.Sprintf("%q is not a duration", text),
			Fix:     "write a positive number and its unit (ms, s, m or h), for example 30s",
		}
	}
	*d = Duration(parsed)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (m *Manifest) fillDefaults() {
	for i := range m.Routes {
		m.Routes[i].fillDefaults()
	}
	for i := range m.Events.Subscribes {
		m.Events.Subscribes[i].fillDefaults()
	}
	if m.Runtime.Executable == "" && nameRule.MatchString(m.Name) { // a bad name is complained about once
		m.Runtime.Executable = "bin/" + m.Name
	}
	m.Runtime.fillLimits()
	if m.Runtime.Upgrade == "" {
		m.Runtime.Upgrade = UpgradeOverlap
	}
	if m.Runtime.StartTimeout == 0 {
		m.Runtime.StartTimeout = defaultPhase
	}
	if m.Runtime.StopTimeout == 0 {
		m.Runtime.StopTimeout = defaultPhase
	}
}

func (r *Route) fillDefaults() {
	if r.Stream == "" {
		r.Stream = StreamNone
	}
	if r.MaxBody == 0 {
		r.MaxBody = defaultMaxBody
	}
	if r.Timeout == 0 && r.Stream == StreamNone {
		r.Timeout = defaultTimeout
	}
}
