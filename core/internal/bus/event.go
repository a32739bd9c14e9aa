package bus

import "github.com/platformd/platformd/plugin-api/event"

// MaxData is how much an event's data may be, in bytes.
const MaxData = event.MaxData

// Event is a CloudEvent 1.0.2, the same to the bus as to whoever publishes or handles it.
type Event = event.Event

// CheckPattern tells whether a subscription may have the pattern.
func CheckPattern(pattern string) error { return event.CheckPattern(pattern) }

// Matches tells whether a pattern wants a type: the star stands for one word or more.
func Matches(pattern, eventType string) bool { return event.Matches(pattern, eventType) }
