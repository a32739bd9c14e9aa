package catalog

import (
	"strings"
)

// Error is what is wrong with a module, or why it is held.
type Error struct {
	// Code is a stable, machine-readable name, such as "dependency_missing".
	Code string
	// Message and Fix say in one line each what is wrong, and what to do next.
	Message, Fix string
	// Chain leads from a held module to the one at fault: shop, blog, billing. Empty for a refused one.
	Chain []string
	// Err is the error behind it, or nil. Message already says it.
	Err error
}

// Error returns the message and, on a line of its own, "fix: …".
func (e *Error) Error() string { return e.Message + "\nfix: " + e.Fix }

// Unwrap returns the error behind it.
func (e *Error) Unwrap() error { return e.Err }

// CycleError says that modules require each other, so that none of them can be the first to start.
type CycleError struct {
	// Path begins with the module whose name is first in the alphabet, and ends with it.
	Path []string
}

// Error names the whole circle.
func (e *CycleError) Error() string {
	return "modules require each other: " + strings.Join(e.Path, " → ") +
		"\nfix: remove one of these from requires.modules, or make it optional"
}

// firstMessage returns the first message in err and its fix, for a sentence that goes on.
func firstMessage(err error) (message, fix string) {
	message, rest, found := strings.Cut(err.Error(), "\nfix: ")
	if !found {
		return message, "correct that first"
	}
	fix, _, _ = strings.Cut(rest, "\n")
	return message, fix
}
