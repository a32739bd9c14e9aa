package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// attributes are an event as its column has them. The names are those of CloudEvents.
type attributes struct {
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Version     int       `json:"typeversion"`
	Subject     string    `json:"subject,omitempty"`
	Key         string    `json:"partitionkey,omitempty"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype,omitempty"`
	TraceParent string    `json:"traceparent,omitempty"`
}

func encode(e *bus.Event) (string, error) {
	text, err := json.Marshal(attributes{
		ID: e.ID, Source: e.Source, Type: e.Type, Version: e.Version, Subject: e.Subject, Key: e.Key, Time: e.Time.UTC(),
		ContentType: e.ContentType, TraceParent: e.TraceParent,
	})
	return string(text), err
}

func decode(text string, data []byte) (bus.Event, error) {
	var a attributes
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return bus.Event{}, err
	}
	return bus.Event{
		ID: a.ID, Source: a.Source, Type: a.Type, Version: a.Version, Subject: a.Subject, Key: a.Key, Time: a.Time.UTC(),
		ContentType: a.ContentType, Data: data, TraceParent: a.TraceParent,
	}, nil
}

// maxError is how much of a failure's text is kept.
const maxError = 4 << 10

// legible is what a database can hold of a text.
func legible(text string) string {
	if len(text) > maxError {
		text = text[:maxError]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// failure is what the database said, in the words of package bus.
func failure(err error) error {
	for _, known := range []error{bus.ErrClosed, bus.ErrUnroutable, bus.ErrRefused, bus.ErrUnavailable} {
		if errors.Is(err, known) {
			return err
		}
	}
	for _, refused := range []error{
		sqlite.ErrFull, sqlite.ErrReadOnly, sqlite.ErrCorrupt, postgres.ErrFull, postgres.ErrReadOnly, postgres.ErrValue,
	} {
		if errors.Is(err, refused) {
			return fmt.Errorf("%w: %s", bus.ErrRefused, err.Error())
		}
	}
	// Its text alone: it may be the end of a context that is not the caller's.
	return fmt.Errorf("%w: %s", bus.ErrUnavailable, err.Error())
}
