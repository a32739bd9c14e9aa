package sqlite

import (
	"errors"

	"google.golang.org/grpc/codes"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/platformd/platformd/plugin-api/db/internal/session"
)

// Conditions of the file itself. Errors of any query match them with errors.Is, and carry SQLite's own message.
var (
	ErrBusy        = errors.New("the database is busy: another writer holds it (fix: try again; keep transactions short)")
	ErrFull        = errors.New("the disk is full (fix: free some space on the database's disk)")
	ErrReadOnly    = errors.New("the database may not be written (fix: let this user write the file and its folder)")
	ErrCannotOpen  = errors.New("the database file cannot be opened (fix: let this user read and write the file and its folder)")
	ErrNotDatabase = errors.New("this is not an SQLite database (fix: move the file away, or restore a backup)")
	ErrCorrupt     = errors.New("the database is damaged (fix: restore a backup)")
)

// translate gives err a name that callers can test for, and keeps err itself for people. An error that it does not know,
// and nil, are returned as they are.
func translate(err error) error {
	var native *sqlite.Error
	if !errors.As(err, &native) {
		return session.Name(err, nil)
	}
	return session.Name(err, nameOf(native.Code()), ours)
}

// ours is the one condition of a file that is a client's business too.
var ours = session.Condition{Name: ErrBusy, Code: codes.Aborted, Public: "somebody else is writing: try again"}

func nameOf(code int) error {
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return gorm.ErrDuplicatedKey
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return gorm.ErrForeignKeyViolated
	case sqlite3.SQLITE_CONSTRAINT_CHECK:
		return gorm.ErrCheckConstraintViolated
	}
	switch code & 0xff { // the low byte is the kind, the rest its variant
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return ErrBusy
	case sqlite3.SQLITE_FULL:
		return ErrFull
	case sqlite3.SQLITE_READONLY:
		return ErrReadOnly
	case sqlite3.SQLITE_CANTOPEN:
		return ErrCannotOpen
	case sqlite3.SQLITE_NOTADB:
		return ErrNotDatabase
	case sqlite3.SQLITE_CORRUPT:
		return ErrCorrupt
	}
	return nil
}

// dialector is GORM's own for SQLite, except that it knows the errors of the driver we use.
type dialector struct{ *gormsqlite.Dialector }

// Translate implements gorm.ErrorTranslator.
func (dialector) Translate(err error) error { return translate(err) }
