package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a manifest.
type Error struct {
	File string
	// Line begins at 1; it is 0 if the file could not be read at all.
	Line int
	// Field is where it is: "name", "requires.modules.billing", "routes[1].path". Empty for the file as a whole.
	Field string
	// Message says what is wrong, in one line.
	Message string
	// Fix says what to do next, in one line.
	Fix string
	// Code is a stable, machine-readable name, such as "unknown_key".
	Code string

	cause error
}

// Error returns "file:line: message" and, on a line of its own, "fix: …".
func (e *Error) Error() string {
	place := ""
	if e.File != "" && e.Line > 0 {
		place = fmt.Sprintf("%s:%d: ", e.File, e.Line)
	} else if e.File != "" {
		place = e.File + ": "
	}
	return place + e.Message + "\nfix: " + e.Fix
}

// Unwrap returns what the operating system said, if the file could not be read.
func (e *Error) Unwrap() error { return e.cause }

// Errors is everything that is wrong with a manifest, in the order of the file's lines; it is never empty when it is
// returned as an error.
type Errors []*Error

// maxPrinted keeps the message of a thoroughly broken file readable.
const maxPrinted = 20

// Error returns the messages one below the other, at most 20 of them.
func (e Errors) Error() string {
	lines := make([]string, 0, len(e))
	for _, one := range e[:min(len(e), maxPrinted)] {
		lines = append(lines, one.Error())
	}
	if more := len(e) - maxPrinted; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As and errors.Is look at each of them.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// asError avoids an error that holds a nil slice and yet is not nil.
func (e Errors) asError() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

func (e *Errors) add(field, code, message, fix string) {
	*e = append(*e, &Error{Field: field, Code: code, Message: message, Fix: fix})
}

// without drops what is wrong with fields that known already complains about.
func (e Errors) without(known Errors) Errors {
	reported := make(map[string]bool, len(known))
	for _, one := range known {
		reported[one.Field] = true
	}
	return slices.DeleteFunc(e, func(one *Error) bool { return reported[one.Field] })
}

// locate gives each error its file and, by its field, its line; then it sorts them.
func (e Errors) locate(file string, lines map[string]int) {
	for _, one := range e {
		one.File = file
		if one.Line == 0 {
			one.Line = lineOf(one.Field, lines)
		}
	}
	slices.SortStableFunc(e, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
}

// lineOf returns the line of a field, or of the nearest thing around it that is in the file.
func lineOf(field string, lines map[string]int) int {
	for field != "" {
		if line, found := lines[field]; found {
			return line
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return max(1, lines[""])
}
