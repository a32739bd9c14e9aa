package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
)

// Conditions of the database itself. Errors of any query match them with errors.Is, and carry PostgreSQL's own message.
var (
	ErrSerialization = errors.New("another transaction was in the way (fix: try again)")
	ErrUnavailable   = errors.New("the database cannot be reached (fix: see that it runs, and accepts connections from here)")
	ErrTooMany       = errors.New("the database has no connection left (fix: raise its max_connections, or lower database.moduleMaxConns)")
	ErrCredentials   = errors.New("the database refuses the credentials (fix: correct user and password, and the server's pg_hba.conf)")
	ErrNoDatabase    = errors.New("the server has no such database (fix: create it, or correct the name)")
	ErrDenied        = errors.New("the database does not allow it (fix: use what is this role's own)")
	ErrReadOnly      = errors.New("the database may not be written (fix: connect to the primary server)")
	ErrFull          = errors.New("the database's disk is full (fix: free some space on the server)")
)

// ours is what the conditions mean to a module's clients. The rest are the operator's: to a client they are internal errors.
var ours = []session.Condition{
	{Name: ErrSerialization, Code: codes.Aborted, Public: "somebody else changed it at the same time: try again"},
	{Name: ErrUnavailable, Code: codes.Unavailable, Public: "the database cannot be reached: try again later"},
	{Name: ErrTooMany, Code: codes.Unavailable, Public: "the database is busy: try again later"},
}

// translate gives err a name that callers can test for, and keeps err itself for people. An error that it does not know,
// and nil, are returned as they are.
func translate(err error) error { return session.Name(withoutValues(err), nameOf(err), ours...) }

func nameOf(err error) error {
	var native *pgconn.PgError
	if errors.As(err, &native) {
		return nameOfState(native.Code)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || isLost(err) {
		return ErrUnavailable
	}
	return nil
}

// isLost tells whether the connection has ended, which the driver says in several ways. One that ends because its user does
// not wait any more says nothing of the database.
func isLost(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) ||
		pgconn.SafeToRetry(err) // nothing was sent, as the connection was closed already
}

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
		if at := strings.IndexAny(native.Message, quotes); at >= 0 && strings.HasPrefix(native.Code, "22") { // data exceptions
			return &discreet{err, fmt.Sprintf("%s: %s… (SQLSTATE %s)", native.Severity, native.Message[:at], native.Code)}
		}
	case strings.HasPrefix(err.Error(), "failed to encode args["):
		what, _, _ := strings.Cut(err.Error(), "]")
		return &discreet{err, what + "]: the value is of another type than the database has there"}
	}
	return err
}

// nameOfState knows the codes of PostgreSQL's appendix A that somebody can act on.
func nameOfState(code string) error {
	switch code {
	case "23505":
		return gorm.ErrDuplicatedKey
	case "23503":
		return gorm.ErrForeignKeyViolated
	case "23514":
		return gorm.ErrCheckConstraintViolated
	case "40001", "40P01", "55P03", stalePlan: // the last one within a transaction, where it cannot be run again here
		return ErrSerialization
	case "53300":
		return ErrTooMany
	case "53100":
		return ErrFull
	case "25006":
		return ErrReadOnly
	case "3D000":
		return ErrNoDatabase
	case "42501":
		return ErrDenied
	}
	switch code[:min(2, len(code))] {
	case "28":
		return ErrCredentials
	case "08", "57": // connection exceptions; shut down, cannot connect now
		if code != "57014" { // a query that was canceled, or took too long, says nothing of the database
			return ErrUnavailable
		}
	}
	return nil
}

// stalePlan is feature_not_supported, which is also what a plan gets whose result has changed its type.
const stalePlan = "0A000"

func isStalePlan(err error) bool {
	var native *pgconn.PgError
	return errors.As(err, &native) && native.Code == stalePlan && strings.Contains(native.Message, "cached plan")
}

// secrets are passwords in a URL or a keyword string.
var secrets = regexp.MustCompile(`(://[^/?#\s:@]*:)[^\s]*@|(password=)\S+`)

// redact hides a password in an error's text. What the error was is lost, but for the text.
func redact(err error) error {
	return errors.New(secrets.ReplaceAllString(err.Error(), "${1}${2}xxxxx@"))
}
