package logs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Entry is one record. It is a value of its own: nothing in it changes after it was logged, and nobody may change its Fields.
type Entry struct {
	Time time.Time `json:"time"`
	// Level is trace, debug, info, warn or error.
	Level string `json:"level"`
	// Module is the name of the module that wrote it, or Core.
	Module string `json:"module"`
	// Name is the part of the core, or of the module, that wrote it. It may be empty.
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
	// Fields holds JSON values only.
	Fields map[string]any `json:"fields,omitempty"`
	// Lost is how many records a follower missed just before this one, because it was too slow.
	Lost int `json:"lost,omitempty"`

	seq  uint64 // order within the store
	size int    // bytes that it takes in memory, about
}

// missingKey is the name of a last argument without a key.
const missingKey = "EXTRA_VALUE_AT_END"

// newEntry sorts out the name and the arguments of a record.
func newEntry(now time.Time, name string, args []any) Entry {
	e := Entry{Time: now}
	e.Module, e.Name = split(name)
	if len(args) > 0 {
		e.Fields = make(map[string]any, (len(args)+1)/2)
	}
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			e.Fields[missingKey] = jsonValue(args[i])
			break
		}
		e.Fields[key(args[i])] = jsonValue(args[i+1])
	}
	return e
}

func key(arg any) string {
	if text, is := arg.(string); is {
		return validText(text)
	}
	return validText(fmt.Sprint(arg))
}

var moduleName = regexp.MustCompile(`^module\.([a-z][a-z0-9_]{1,40})(?:\.(.*))?$`)

// split tells whose logger has this name. The name of a module becomes the name of a file, so that anything else that calls
// itself a module is the core's.
func split(logger string) (module, rest string) {
	if found := moduleName.FindStringSubmatch(logger); found != nil && found[1] != Core {
		return found[1], found[2]
	}
	return Core, validText(logger)
}

// jsonValue returns a copy of v that has a form in JSON. It survives values that panic when they are printed.
func jsonValue(v any) (out any) {
	defer func() {
		if r := recover(); r != nil {
			out = fmt.Sprintf("!PANIC %T", v)
		}
	}()
	switch v := v.(type) {
	case nil, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return v
	case string:
		return validText(v)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
		return v
	case hclog.Format:
		return validText(fmt.Sprintf(fmt.Sprint(v[0]), v[1:]...))
	case json.Marshaler:
		return encoded(v)
	case error:
		return validText(v.Error())
	case fmt.Stringer:
		return validText(v.String())
	default:
		return encoded(v)
	}
}

// encoded takes the detour through JSON, which makes a copy of whatever v refers to.
func encoded(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return validText(fmt.Sprint(v))
	}
	var out any
	if json.Unmarshal(text, &out) != nil {
		return string(text)
	}
	return out
}

func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// line returns the entry as one line of JSON.
func (e Entry) line() []byte {
	text, err := json.Marshal(e)
	if err != nil { // a value that we let through and should not have: the record counts for more
		e.Fields = map[string]any{"fields": fmt.Sprint(e.Fields)}
		text, _ = json.Marshal(e)
	}
	return append(text, '\n')
}

// String returns the entry as one line for people. Nothing in it acts on a terminal, whatever the entry holds.
func (e Entry) String() string {
	var out strings.Builder
	if e.Lost > 0 {
		fmt.Fprintf(&out, "(%d records lost) ", e.Lost)
	}
	name := e.Module
	if e.Name != "" {
		name += "." + e.Name
	}
	fmt.Fprintf(&out, "%s %-7s %s: %s", e.Time.Format("2006-01-02T15:04:05.000Z07:00"), "["+strings.ToUpper(Neutral(e.Level))+"]",
		Neutral(name), Neutral(e.Message))
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		out.WriteString(" " + Neutral(name) + "=" + fieldText(e.Fields[name]))
	}
	return out.String()
}

func fieldText(v any) string {
	text, is := v.(string)
	if !is {
		encoded, err := json.Marshal(v)
		if err != nil {
			return Neutral(fmt.Sprint(v))
		}
		return Neutral(string(encoded))
	}
	if text == "" || strings.ContainsAny(text, " \t=\"\n") {
		return `"` + strings.ReplaceAll(Neutral(text), `"`, `\"`) + `"`
	}
	return Neutral(text)
}

// Neutral returns text with everything in it made visible that could act on a terminal or forge a line: control
// characters, escapes, line ends, characters that turn the direction of writing, invalid UTF-8.
func Neutral(text string) string { return neutral(text, "") }

// neutral is Neutral, and leaves alone the characters in keep.
func neutral(text, keep string) string {
	if isNeutral(text) {
		return text
	}
	out := make([]byte, 0, len(text)+16)
	for i, r := range text {
		switch {
		case r == '\uFFFD' && !strings.HasPrefix(text[i:], "\uFFFD"):
			out = append(out, fmt.Sprintf(`\x%02x`, text[i])...)
		case strconv.IsGraphic(r) || strings.ContainsRune(keep, r):
			out = append(out, text[i:i+len(string(r))]...)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
	}
	return string(out)
}

// isNeutral recognises printable ASCII, which nearly everything is.
func isNeutral(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
