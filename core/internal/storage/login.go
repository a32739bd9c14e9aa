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

// Login is one process's access to its module's data, under credentials that no other process has. Its methods are safe for
// concurrent use; one of them must be called when the process has ended, or will not use the data any more.
type Login struct {
	Database Database
}

// Close ends every session of the login and drops it.
func (l *Login) Close(context.Context) error { return nil }

// Release is Close in the background, for who must not wait for a database.
func (l *Login) Release() {}

// Login gives a process of the module access to its data, and makes their place if there is none.
func (s *Storage) Login(_ context.Context, module string, _ Access) (*Login, error) {
	return &Login{Database: s.Module(module)}, nil
}

// Run keeps what processes have been given valid, and takes back what is left of those that are gone, until ctx ends; then it
// drops every login. It is called once.
func (s *Storage) Run(ctx context.Context) {
	<-ctx.Done()
}
