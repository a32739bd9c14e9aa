package storage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// ConnectError says that the database could not be connected to, why, and what to do about it. It holds no password.
type ConnectError struct {
	Database string // "database app on db.example.com"
	Reason   string
	Fix      string
	// Passing tells that it may be otherwise soon, as where a server is being started.
	Passing bool
	Err     error
}

// Error implements error.
func (e *ConnectError) Error() string {
	return fmt.Sprintf("%s cannot be used: %s (fix: %s)", e.Database, e.Reason, e.Fix)
}

// Unwrap serves errors.Is and errors.As.
func (e *ConnectError) Unwrap() error { return e.Err }

// The SQLSTATEs that are told apart here.
const (
	stateNoPassword    = "28P01"
	stateDenied        = "42501"
	stateUniqueness    = "23505"
	stateSchemaExists  = "42P06"
	stateTableExists   = "42P07"
	stateObjectExists  = "42710"
	stateInternal      = "XX000" // "tuple concurrently updated"
	stateSerialization = "40001"
	stateDeadlock      = "40P01"
)

// sqlState is the server's code for an error; "" if it is none of the server's.
func sqlState(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}

// explain says of an error of connecting what is to be done about it.
func explain(err error, at address) error {
	e := &ConnectError{Database: at.String(), Reason: reason(err), Err: err}
	switch {
	case sqlState(err) == stateNoPassword:
		e.Fix = "correct the user and the password in database.url"
	case errors.Is(err, postgres.ErrCredentials):
		e.Fix = "correct the user in database.url, or let it in by the server's pg_hba.conf"
	case errors.Is(err, postgres.ErrNoDatabase):
		e.Fix = "create the database, or correct its name in database.url"
	case errors.Is(err, postgres.ErrDenied):
		e.Fix = "let platformd's role connect (GRANT CONNECT ON DATABASE), or make it the database's owner"
	case errors.Is(err, postgres.ErrTooMany):
		e.Fix, e.Passing = "raise the server's max_connections, or lower database.maxConns and database.moduleMaxConns", true
	default:
		e.Fix = "start the PostgreSQL server, or correct host, port and sslmode in database.url"
		e.Passing = errors.Is(err, postgres.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	}
	return e
}

// cause is where pgx says what went wrong, after the address, once for each that it tried.
var cause = regexp.MustCompile(`(?:dial|server|tls|resolving) error: (.*)$|(failed to .*)$`)

// reason is the cause without what stands around it.
func reason(err error) string {
	var native interface {
		error
		SQLState() string
	}
	if errors.As(err, &native) {
		return native.Error()
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if found := cause.FindStringSubmatch(last); found != nil {
		return found[1] + found[2]
	}
	return last
}

// isRace tells whether a statement failed only because another daemon did the same at the same moment.
func isRace(err error) bool {
	switch sqlState(err) {
	case stateUniqueness, stateSchemaExists, stateTableExists, stateObjectExists, stateSerialization, stateDeadlock:
		return true
	case stateInternal:
		return strings.Contains(err.Error(), "concurrently")
	}
	return errors.Is(err, gorm.ErrDuplicatedKey)
}
