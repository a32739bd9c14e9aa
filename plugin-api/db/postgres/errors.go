package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
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
	ErrTooMany       = errors.New("the database has no connection left (fix: raise max_connections, lower database.moduleMaxConns)")
	ErrCredentials   = errors.New("the database refuses the credentials (fix: correct user, password, and the server's pg_hba.conf)")
	ErrNoDatabase    = errors.New("the server has no such database (fix: create it, or correct the name)")
	ErrDenied        = errors.New("the database does not allow it (fix: use what is this role's own)")
	ErrReadOnly      = errors.New("the database may not be written (fix: connect to the primary server)")
	ErrValue         = errors.New("the database cannot hold the value (fix: check it before, for its length and for zero bytes)")
	ErrFull          = errors.New("the database's disk is full (fix: free some space on the server)")
)

// ours is what the conditions mean to a module's clients. The rest are the operator's: to a client they are internal errors.
var ours = []session.Condition{
	{Name: ErrSerialization, Code: codes.Aborted, Public: "somebody else changed it at the same time: try again"},
	{Name: ErrUnavailable, Code: codes.Unavailable, Public: "the database cannot be reached: try again later"},
	{Name: ErrValue, Code: codes.InvalidArgument, Public: "a text or number is too long, too large, or holds what is no text"},
	{Name: ErrTooMany, Code: codes.Unavailable, Public: "the database is busy: try again later"},
}

// translate gives err a name that callers can test for, and keeps err itself for people. An error that it does not know,
// and nil, are returned as they are.
func translate(err error) error { return session.Name(withoutValues(err), nameOf(err), ours...) }

func nameOf(err error) error {
	var native *pgconn.PgError
	if errors.As(err, &native) {
		if isStalePlan(err) { // within a transaction, where it cannot be run again here
			return ErrSerialization
		}
		return nameOfState(native.Code)
	}
	if isCut(err) {
		return ErrUnavailable
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) && !errors.Is(err, context.DeadlineExceeded) {
		return ErrUnavailable
	}
	return nil
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
	case "40001", "40P01", "55P03":
		return ErrSerialization
	case "22001", "22003", "22021": // too long, too large, a zero byte or no UTF-8: SQLite takes them all
		return ErrValue
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

// isCut reports whether the server went away without a word, as one does that dies.
func isCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, pgconn.ErrConnClosed)
}

// secrets are passwords in a URL. In one that cannot be read a password may hold anything, so that it ends at the last @ of all.
var secrets = regexp.MustCompile(`(://[^/?#\s:@]*:)(?s:.*)@|(password\s*=\s*)('[^']*'?|\S+)`)

// redact hides a password in an error's text. What the error was is lost, but for the text.
func redact(err error) error {
	return errors.New(secrets.ReplaceAllString(err.Error(), "${1}${2}xxxxx@"))
}
