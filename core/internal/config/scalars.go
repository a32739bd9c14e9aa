package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/platformd/platformd/plugin-api/nearest"
)

func isDuration(t reflect.Type) bool { return t == reflect.TypeFor[time.Duration]() }

// assign parses text into a value of one of the kinds that a key may have.
func assign(into reflect.Value, text string) *fault {
	switch {
	case isDuration(into.Type()):
		return set(into, text, parseDuration)
	case into.Kind() == reflect.Int:
		return set(into, text, parseInt)
	case into.Kind() == reflect.Float64:
		return set(into, text, parseFloat)
	case into.Kind() == reflect.Bool:
		return set(into, text, parseBool)
	default:
		into.SetString(text)
		return nil
	}
}

func set[T any](into reflect.Value, text string, parse func(string) (T, *fault)) *fault {
	value, bad := parse(text)
	if bad == nil {
		into.Set(reflect.ValueOf(value))
	}
	return bad
}

func parseDuration(text string) (time.Duration, *fault) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, &fault{fmt.Sprintf(": %s has no unit; write %ss", text, text),
			"write " + text + "s if seconds are meant; the units are ms, s, m and h", "no_unit"}
	}
	return 0, &fault{": " + display(text) + " is not a duration",
		"write for example 500ms, 30s, 5m or 720h; there is no unit above h", "bad_duration"}
}

func parseInt(text string) (int, *fault) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, &fault{": " + display(text) + " is not a whole number", "write for example 5", "bad_type"}
	}
	return n, nil
}

func parseFloat(text string) (float64, *fault) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, &fault{": " + display(text) + " is not a number", "write for example 0.5", "bad_type"}
	}
	return n, nil
}

func parseBool(text string) (bool, *fault) {
	switch strings.ToLower(text) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, &fault{": " + display(text) + " is neither true nor false", "write true or false", "bad_type"}
}

// parseList splits the value of an environment variable. Empty entries are left out, so that a trailing comma does no harm.
func parseList(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// formatDuration writes 15m where time.Duration writes 15m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if d%time.Minute == 0 && d != 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	if d%time.Hour == 0 && d != 0 {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func plainKey(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// closest returns the name that is fewer than limit edits away from word, "" if there is none.
func closest(word string, names []string, limit int) (name string) {
	for _, candidate := range names {
		if d := nearest.Distance(word, plainKey(candidate)); d < limit {
			limit, name = d, candidate
		}
	}
	return name
}
