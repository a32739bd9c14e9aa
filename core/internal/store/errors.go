package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Error is why the store cannot be read or changed.
type Error struct {
	// Code is a stable, machine-readable name, such as "older_version".
	Code string
	// Message and Fix say in one line each what is wrong, and what to do next.
	Message, Fix string
	// Err is the error behind it, or nil. Message already says it.
	Err error
}

// Error returns the message and, on a line of its own, "fix: …".
func (e *Error) Error() string { return e.Message + "\nfix: " + e.Fix }

// Unwrap returns the error behind it.
func (e *Error) Unwrap() error { return e.Err }

// hasCode tells whether err is an *Error with that code.
func hasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// disk is what the disk has against it. Its code is "store_unusable".
func (s *Store) disk(act string, err error) error {
	fix := "see that the disk of " + s.data + " is well, and try again"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		fix = "make room on the disk of " + s.data + ", and try again; until then everything is as it was"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		fix = "run as the user that owns " + s.data + ", on a disk that can be written"
	}
	return &Error{Code: "store_unusable", Message: act + ": " + err.Error(), Fix: fix, Err: err}
}

// underWay says what stands in the way of another change.
func (s *Store) underWay() *Error {
	e := &Error{Code: "change_under_way", Fix: "wait until it is done, and try again"}
	switch {
	case s.open == nil:
		e.Fix = "restart platformd: it settles that first"
	case s.open.committed:
		e.Fix = "wait until its data is removed, and try again"
	}
	e.Message = fmt.Sprintf("a change of %s is under way", s.under.Module)
	return e
}

func notInstalled(name string) *Error {
	return &Error{Code: "not_installed", Message: fmt.Sprintf("no package of %q is installed", name),
		Fix: "see what is: platformd module ls"}
}
