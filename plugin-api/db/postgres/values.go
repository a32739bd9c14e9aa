package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// discreet is an error whose own text shows what somebody wrote into the database, or asked it for.
type discreet struct {
	error
	text string
}

// Error implements error.
func (d *discreet) Error() string { return d.text }

// Unwrap serves errors.Is and errors.As.
func (d *discreet) Unwrap() error { return d.error }

// quotes are what the server puts around values, in whatever language it speaks.
const quotes = "\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e"

// withoutValues hides values where an error names them: they are people's data, and errors go to the log.
func withoutValues(err error) error {
	var native *pgconn.PgError
	var hidden *discreet
	switch {
	case err == nil || errors.As(err, &hidden):
		return err
	case errors.As(err, &native):
		const dataExceptions = "22" // PostgreSQL, appendix A
		if at := strings.IndexAny(native.Message, quotes); at >= 0 && strings.HasPrefix(native.Code, dataExceptions) {
			return &discreet{err, fmt.Sprintf("%s: %s… (SQLSTATE %s)", native.Severity, native.Message[:at], native.Code)}
		}
	case strings.HasPrefix(err.Error(), "failed to encode args["): // of pgx, before the server is asked
		what, _, _ := strings.Cut(err.Error(), "]")
		return &discreet{err, what + "]: the value is of another type than the database has there"}
	}
	return err
}
