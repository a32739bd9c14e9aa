package event

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// cloudEvent is an event in the JSON format of CloudEvents 1.0.2 (cloudevents.io, "JSON Event Format").
type cloudEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Version     int             `json:"typeversion"`
	Subject     string          `json:"subject,omitempty"`
	Key         string          `json:"partitionkey,omitempty"`
	Time        time.Time       `json:"time,omitzero"`
	ContentType string          `json:"datacontenttype,omitempty"`
	TraceParent string          `json:"traceparent,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	Binary      []byte          `json:"data_base64,omitempty"`
}

// MarshalJSON implements json.Marshaler. Data that is JSON stands as it is, text as a string, and the rest as data_base64.
func (e Event) MarshalJSON() ([]byte, error) {
	c := cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Version: e.Version, Subject: e.Subject, Key: e.Key,
		Time: e.Time, ContentType: e.ContentType, TraceParent: e.TraceParent,
	}
	switch {
	case len(e.Data) == 0:
	case e.isJSON() && json.Valid(e.Data):
		c.Data = e.Data
	case strings.HasPrefix(e.ContentType, "text/") && utf8.Valid(e.Data):
		c.Data, _ = json.Marshal(string(e.Data)) // a string always can be
	default:
		c.Binary = e.Data
	}
	return json.Marshal(c)
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Event) UnmarshalJSON(text []byte) error {
	var c cloudEvent
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read a CloudEvent: %w", err)
	}
	*e = Event{
		ID: c.ID, Source: c.Source, Type: c.Type, Version: c.Version, Subject: c.Subject, Key: c.Key, Time: c.Time,
		ContentType: c.ContentType, TraceParent: c.TraceParent, Data: c.Binary,
	}
	var words string
	switch {
	case len(c.Data) == 0:
	case !e.isJSON() && json.Unmarshal(c.Data, &words) == nil:
		e.Data = []byte(words)
	default:
		e.Data = c.Data
	}
	return nil
}

func (e *Event) isJSON() bool {
	kind, _, _ := strings.Cut(e.ContentType, ";")
	kind = strings.TrimSpace(strings.ToLower(kind))
	return kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json")
}
