package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// What fits into a row, in bytes.
const (
	maxKind     = 32
	maxName     = 200 // ids too
	maxVia      = 64
	maxAction   = 100
	maxResource = 500
	maxID       = 128 // of requests and traces
	maxAddress  = 64
	maxDetails  = 4096
	// maxRaw is how long details may be to be looked at as JSON; maxText is what is kept of what is none, of which escapes may
	// make twice as much.
	maxRaw  = 64 << 10
	maxText = 2000
)

// more stands where something was cut off.
const more = "…"

// cleaner makes fields fit, and remembers which did not.
type cleaner struct{ changed []string }

// clean makes a row of an entry. The same entry always makes the same row, and an entry that was made of a row makes that row.
func (e Entry) clean() row {
	var c cleaner
	r := row{
		ActorKind: c.text("actor_kind", c.required("actor_kind", e.Actor.Kind), maxKind),
		ActorID:   c.text("actor_id", e.Actor.ID, maxName),
		ActorName: c.text("actor_name", e.Actor.Name, maxName),
		Via:       c.text("via", e.Via, maxVia),
		Action:    c.text("action", c.required("action", e.Action), maxAction),
		Resource:  c.text("resource", e.Resource, maxResource),
		Outcome:   c.outcome(e.Outcome),
		RequestID: c.text("request_id", e.RequestID, maxID),
		TraceID:   c.text("trace_id", e.TraceID, maxID),
		Address:   c.text("address", e.Address, maxAddress),
		Details:   c.details(e.Details),
	}
	r.Cleaned = strings.Join(c.changed, ",")
	return r
}

func (c *cleaner) mark(field string) { c.changed = append(c.changed, field) }

func (c *cleaner) required(field, value string) string {
	if value == "" {
		c.mark(field)
		return string(Unknown)
	}
	return value
}

func (c *cleaner) outcome(o Outcome) string {
	switch o {
	case Allowed, Denied, Done, Failed, Unknown:
		return string(o)
	}
	c.mark("outcome")
	return string(Unknown)
}

func (c *cleaner) text(field, value string, most int) string {
	kept := plain(value, most)
	if kept != value {
		c.mark(field)
	}
	return kept
}

// plain replaces what could deceive a reader, such as the escapes of a terminal or invisible characters, and what is no UTF-8,
// and cuts the text off where it has most bytes.
func plain(text string, most int) string {
	var out strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		if out.Len()+utf8.RuneLen(r) > most {
			return cut(out.String(), most-len(more)) + more
		}
		out.WriteRune(r)
	}
	return out.String()
}

// cut shortens a text to so many bytes, and to whole characters.
func cut(text string, most int) string {
	for len(text) > most {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// details keeps an object, without the spaces around its parts. Anything else becomes the text in {"text": "…"}.
func (c *cleaner) details(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "{}"
	}
	if object, ok := compact(raw); ok {
		return object
	}
	c.mark("details")
	return string(encodeJSON(map[string]string{"text": plain(string(raw[:min(len(raw), maxRaw)]), maxText)}))
}

func compact(raw json.RawMessage) (string, bool) {
	var out bytes.Buffer
	if len(raw) > maxRaw || !utf8.Valid(raw) || json.Compact(&out, raw) != nil || out.Bytes()[0] != '{' {
		return "", false
	}
	object := escape(out.String())
	return object, len(object) <= maxDetails
}

// escape writes characters that nobody can see as JSON's escapes. In compact JSON they only stand within strings.
func escape(compact string) string {
	var out strings.Builder
	for _, r := range compact {
		switch {
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out.WriteString(escaped(high) + escaped(low))
		default:
			out.WriteString(escaped(r))
		}
	}
	return out.String()
}

func escaped(r rune) string {
	const digits = "0123456789abcdef"
	return string([]byte{'\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}
