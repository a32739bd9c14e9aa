package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/platformd/platformd/plugin-api/event"
)

// Values of Subscription.Order.
const (
	OrderNone = "none" // events come as they come, several at a time
	OrderKey  = "key"  // those of one key come one after the other, in the order they were published
)

// The defaults and bounds of a subscription.
const (
	defaultHandlers = Amount(1)
	maxHandlers     = 256
	defaultAttempts = Amount(5)
	maxAttempts     = 100
	defaultHandling = Duration(30 * time.Second)
	minHandling     = Duration(time.Second)
	maxHandling     = Duration(10 * time.Minute)
	defaultVersion  = Amount(1)
	maxVersion      = 1 << 20
)

// Events is what the module tells others, and what it wants to hear.
type Events struct {
	Publishes  []Publication  `json:"publishes,omitempty" jsonschema:"What happens in this module that others may want to know."`
	Subscribes []Subscription `json:"subscribes,omitempty" jsonschema:"What the module wants to hear of."`
}

// Any reports whether the module has anything to do with events.
func (e *Events) Any() bool { return len(e.Publishes)+len(e.Subscribes) > 0 }

// Publication is one type of event in one version of its data.
type Publication struct {
	// Type begins with the manifest's own name.
	Type string `json:"type" jsonschema:"What happened: NAME.THING.HAPPENED, with this module's name."`
	// Version counts from 1. The same type may be declared in several versions.
	Version Amount `json:"version" jsonschema:"The version of the data, from 1; a new one for what old readers cannot read."`
	// Schema is a slash-separated path relative to the module's folder, and inside it; empty if the data is not described.
	Schema string `json:"schema,omitempty" jsonschema:"The file with the JSON Schema of the data, relative to the module's folder."`
}

// Subscription is one type of event, or several whose names begin alike.
type Subscription struct {
	// Type is a type, or the beginning of types with a star: blog.post.*, blog.*.
	Type string `json:"type" jsonschema:"A type such as billing.plan.changed, or the beginning of types, such as billing.*"`
	// Version is the newest version of the data that the module can read; events of a newer one wait as dead letters. Default: 1.
	Version Amount `json:"version,omitempty" jsonschema:"The newest version of the data that the module can read."`
	// Concurrency is how many events are handled at once by all instances together, between 1 and 256. Default: 1.
	Concurrency Amount `json:"concurrency,omitempty" jsonschema:"How many events are handled at once."`
	// Order is OrderNone or OrderKey. Default: OrderNone.
	Order string `json:"order,omitempty" jsonschema:"key: events of one key are handled one after the other."`
	// Timeout bounds the handling of one event, between 1 s and 10 min. Default: 30 s.
	Timeout Duration `json:"timeout,omitempty" jsonschema:"How long the handling of one event may take, such as 30s."`
	Retry   Retry    `json:"retry,omitzero" jsonschema:"What is done with an event whose handling fails."`
}

// Retry says how often an event is tried.
type Retry struct {
	// Max is how often altogether, between 1 and 100; then it is a dead letter. Default: 5.
	Max Amount `json:"max,omitempty" jsonschema:"How often an event is tried altogether, before it becomes a dead letter."`
}

func (s *Subscription) fillDefaults() {
	if s.Version == 0 {
		s.Version = defaultVersion
	}
	if s.Concurrency == 0 {
		s.Concurrency = defaultHandlers
	}
	if s.Order == "" {
		s.Order = OrderNone
	}
	if s.Timeout == 0 {
		s.Timeout = defaultHandling
	}
	if s.Retry.Max == 0 {
		s.Retry.Max = defaultAttempts
	}
}

func (m *Manifest) checkEvents(errs *Errors) {
	declared := map[string]bool{}
	for i, p := range m.Events.Publishes {
		at := fmt.Sprintf("events.publishes[%d]", i)
		m.checkPublished(errs, at, p)
		version := fmt.Sprintf("%s version %d", p.Type, p.Version)
		if declared[version] {
			errs.add(at+".type", "duplicate_event", version+" is declared twice", "remove one of the two")
		}
		declared[version] = true
	}
	wanted := map[string]bool{}
	for i, s := range m.Events.Subscribes {
		at := fmt.Sprintf("events.subscribes[%d]", i)
		s.check(errs, at)
		if wanted[s.Type] {
			errs.add(at+".type", "duplicate_subscription", "the module subscribes to "+s.Type+" twice", "remove one of the two")
		}
		wanted[s.Type] = true
	}
}

func (m *Manifest) checkPublished(errs *Errors, at string, p Publication) {
	owner, _, _ := strings.Cut(p.Type, ".")
	switch {
	case !event.IsType(p.Type):
		errs.add(at+".type", "bad_event_type", fmt.Sprintf("%+.99q is not a type of event", p.Type),
			"write NAME.THING.HAPPENED in lower case, for example blog.post.created")
	case owner != m.Name && nameRule.MatchString(m.Name):
		errs.add(at+".type", "foreign_event", fmt.Sprintf("%s belongs to the module %s", p.Type, owner),
			"a module publishes only types that begin with its own name: "+m.Name+".")
	}
	checkAmount(errs, at+".version", p.Version, [2]Amount{1, maxVersion})
	if p.Schema != "" {
		checkFile(errs, at+".schema", p.Schema)
	}
}

func (s *Subscription) check(errs *Errors, at string) {
	if event.CheckPattern(s.Type) != nil {
		errs.add(at+".type", "bad_event_pattern", fmt.Sprintf("%+.99q is neither a type of event nor the beginning of types", s.Type),
			"write for example billing.plan.changed, billing.plan.* or billing.*")
	}
	checkAmount(errs, at+".version", s.Version, [2]Amount{1, maxVersion})
	checkAmount(errs, at+".concurrency", s.Concurrency, [2]Amount{1, maxHandlers})
	if s.Order != "" && s.Order != OrderNone && s.Order != OrderKey {
		errs.add(at+".order", "bad_order", fmt.Sprintf("order %+.99q is not known", s.Order), "write order: key or order: none")
	}
	if s.Timeout != 0 && (s.Timeout < minHandling || s.Timeout > maxHandling) {
		errs.add(at+".timeout", "out_of_bounds", fmt.Sprintf("`%s.timeout` %s is out of bounds", at, s.Timeout),
			"write a duration between 1s and 10m")
	}
	checkAmount(errs, at+".retry.max", s.Retry.Max, [2]Amount{1, maxAttempts})
}

func constrainEvents(events *jsonschema.Schema) {
	publication := events.Properties["publishes"].Items.Properties
	publication["type"].Pattern = event.TypePattern
	publication["type"].MaxLength = jsonschema.Ptr(event.MaxText)
	between(publication["version"], maxVersion, "")
	subscription := events.Properties["subscribes"].Items.Properties
	subscription["type"].Pattern = event.PatternPattern
	subscription["type"].MaxLength = jsonschema.Ptr(event.MaxText)
	between(subscription["version"], maxVersion, "1")
	between(subscription["concurrency"], maxHandlers, "1")
	subscription["order"].Enum = enum([]string{OrderNone, OrderKey})
	subscription["order"].Default = json.RawMessage(`"` + OrderNone + `"`)
	subscription["timeout"].Default = json.RawMessage(`"` + defaultHandling.String() + `"`)
	between(subscription["retry"].Properties["max"], maxAttempts, "5")
}

// between bounds a number that begins at 1.
func between(s *jsonschema.Schema, most float64, preset string) {
	s.Minimum, s.Maximum = jsonschema.Ptr(1.0), &most
	if preset != "" {
		s.Default = json.RawMessage(preset)
	}
}
