package storage

import "context"

// Access is what one process may do with its module's data.
type Access int

const (
	// ReadWrite is for a module at work: its rows, not the shape of its tables.
	ReadWrite Access = iota + 1
	// Owner is for a migration: the shape of the tables too.
	Owner
)

// String implements fmt.Stringer.
func (a Access) String() string {
	if a == Owner {
		return "owner"
	}
	return "rw"
}

// Login is one process's access to its module's data, under credentials that no other process has. Its methods are safe for
// concurrent use; one of them must be called when the process has ended, or will not use the data any more.
type Login struct {
	Database Database

	end     func(context.Context) error // nil: nothing is to be done
	release func()
}

// Close ends every session of the login and drops it, within seconds. On an error the login is taken back later.
func (l *Login) Close(ctx context.Context) error {
	if l.end == nil {
		return nil
	}
	return l.end(ctx)
}

// Release is Close in the background, for who must not wait for a database.
func (l *Login) Release() {
	if l.release != nil {
		l.release()
	}
}
