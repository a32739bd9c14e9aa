package config

import (
	"errors"
	"fmt"
	"strings"
)

// Error is one thing that is wrong with the configuration. It never contains a password.
type Error struct {
	// Source is where the value came from: "config.yaml:12", the name of an environment variable, or empty (a flag).
	Source string
	// Key is the path of the key, such as "server.tls.cert"; empty for a file as a whole.
	Key string
	// Message says what is wrong, in one line.
	Message string
	// Fix says what to do next, in one line.
	Fix string
	// Code is a stable, machine-readable name, such as "unknown_key".
	Code string

	cause error
}

// Error returns "source: message" and, on a line of its own, "fix: …".
func (e *Error) Error() string {
	place := ""
	if e.Source != "" {
		place = e.Source + ": "
	}
	return place + e.Message + "\nfix: " + e.Fix
}

// Unwrap returns what the operating system said, if it was asked.
func (e *Error) Unwrap() error { return e.cause }

// Errors is everything that is wrong with a configuration; it is never empty when it is returned as an error.
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

// fault is what a parser of one value says; whoever knows the key and the source completes it. Its message continues the
// name of the key, and so begins with a space or a colon.
type fault struct {
	message, fix, code string
}

func (f *fault) Error() string { return f.message }

func (f *fault) at(source, key string) *Error {
	if password(key) != "" {
		key = redactURL(key) // in a map, the operator chooses the keys
	}
	name := "config.yaml"
	if key != "" {
		name = "`" + key + "`"
	}
	return &Error{Source: source, Key: key, Message: name + f.message, Fix: f.fix, Code: f.code}
}

// located returns the errors that err consists of, each with a source and a key.
func located(err error, source, key string) Errors {
	var many Errors
	var one *fault
	switch {
	case errors.As(err, &many):
		return many
	case errors.As(err, &one):
		return Errors{one.at(source, key)}
	default:
		return Errors{(&fault{": the value cannot be used", "correct it or remove it", "bad_value"}).at(source, key)}
	}
}
