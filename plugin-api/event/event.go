// Package event is what an event is, to whoever publishes, carries or handles it: its attributes, what they may be, and which
// subscriptions want it. The core's bus and the SDK share it.
//
// It must not know how events travel.
package event

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/platformd/platformd/plugin-api/problem"
)

// What fits, in bytes.
const (
	MaxData = 256 << 10
	MaxText = 255
)

// JSON is the content type of an event that names none.
const JSON = "application/json"

// Event is a CloudEvent 1.0.2 (cloudevents.io). Its attributes are those of the specification, except for the extensions:
// partitionkey and traceparent, which the project CloudEvents documents, and typeversion, which is ours.
type Event struct {
	// ID is unique within Source: an event that is published again keeps it, and consumers take it for the same one.
	ID string
	// Source is who published it: /modules/blog, or /platform.
	Source string
	// Type is what happened: blog.post.created. Version is that of its data, from 1.
	Type    string
	Version int
	// Subject is what it happened to; may be empty.
	Subject string
	// Key puts events into an order, on subscriptions that ask for it; may be empty.
	Key string
	// Time is when it happened, UTC.
	Time time.Time
	// ContentType says what Data is; "application/json" unless set.
	ContentType string
	Data        []byte
	// TraceParent is the W3C's header of the trace that it belongs to; may be empty.
	TraceParent string
}

// The grammars of types and of patterns, for those that write them down elsewhere.
const (
	TypePattern    = `^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`
	PatternPattern = `^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.([a-z][a-z0-9_]*|\*)$`
)

var (
	typeRule    = regexp.MustCompile(TypePattern)
	patternRule = regexp.MustCompile(PatternPattern)
)

// IsType tells whether something can be the type of an event.
func IsType(name string) bool { return len(name) <= MaxText && typeRule.MatchString(name) }

// SourceOf is the source of what a module publishes.
func SourceOf(module string) string { return "/modules/" + module }

// Stamped returns the event with what its publisher left out: an id of its own, the time now, and the trace, of which
// traceParent is the W3C's header.
func (e Event) Stamped(traceParent string) Event {
	if e.ID == "" {
		e.ID = rand.Text()
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond) // what every database and broker keeps
	if e.TraceParent == "" {
		e.TraceParent = traceParent
	}
	return e
}

// Check tells what is wrong with an event, as a *problem.Problem with status 400 or, if it is too large, 413.
func (e *Event) Check() error {
	switch {
	case len(e.Data) > MaxData:
		return problem.New(http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf(
			"the event's data has %d bytes (fix: send at most %d, and where the rest is)", len(e.Data), MaxData))
	case !IsType(e.Type):
		return invalid("type", "words of a-z, 0-9 and _ with dots between them, such as blog.post.created")
	case e.Version < 1:
		return invalid("version", "a number from 1")
	case e.Time.IsZero():
		return invalid("time", "when it happened")
	}
	for _, field := range []struct {
		name, value string
		must        bool
	}{
		{"id", e.ID, true}, {"source", e.Source, true}, {"subject", e.Subject, false}, {"key", e.Key, false},
		{"content type", e.ContentType, false}, {"traceparent", e.TraceParent, false},
	} {
		if field.must && field.value == "" || !printable(field.value) {
			return invalid(field.name, fmt.Sprintf("up to %d printable characters", MaxText))
		}
	}
	return nil
}

func invalid(field, want string) error {
	return problem.New(http.StatusBadRequest, "invalid_event", fmt.Sprintf("the event's %s is not one (fix: give %s)", field, want))
}

func printable(text string) bool {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	return len(text) <= MaxText && utf8.ValidString(text) && !strings.ContainsFunc(text, unprintable)
}

// CheckPattern tells whether a subscription may have the pattern.
func CheckPattern(pattern string) error {
	if !patternRule.MatchString(pattern) || len(pattern) > MaxText {
		return fmt.Errorf("%.80q is no type of event (fix: give one, such as blog.post.created, or a beginning, such as blog.post.*)",
			pattern)
	}
	return nil
}

// Matches tells whether a pattern wants a type: the star stands for one word or more.
func Matches(pattern, eventType string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(eventType, begin) && len(eventType) > len(begin)
	}
	return pattern == eventType
}

// NewTraceParent begins a trace that nobody records yet: a header as W3C Trace Context, level 1, has it.
func NewTraceParent() string {
	var ids [24]byte
	_, _ = rand.Read(ids[:]) // never fails (crypto/rand, Go 1.24)
	text := make([]byte, 0, 55)
	text = append(text, "00-"...)
	text = hex.AppendEncode(text, ids[:16])
	text = append(text, '-')
	text = hex.AppendEncode(text, ids[16:])
	return string(append(text, "-00"...))
}
