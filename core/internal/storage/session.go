package storage

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// A login is valid for validity, by the server's clock, and renewed every renewal; others take it back a while after its end.
const (
	validity = 10 * time.Minute
	renewal  = 3 * time.Minute
	grace    = time.Minute
)

// loginWait bounds the making of a login, endWait the taking back of as many as there are.
const (
	loginWait = 15 * time.Second
	endWait   = 5 * time.Second
)

// ownerConns is how many connections a migration may open: one works, and one may look.
const ownerConns = 2

// session is one login role.
type session struct {
	role, module string
	access       Access
	verifier     string
}

// login makes a role for one process.
func (s *server) login(ctx context.Context, module string, access Access) (*Login, error) {
	ctx, cancel := context.WithTimeout(ctx, loginWait)
	defer cancel()
	if err := s.provide(ctx, module); err != nil {
		return nil, err
	}
	database := s.module(module)
	if access == Owner {
		database.MaxConns = min(ownerConns, s.ModuleMaxConns)
	}
	if s.Isolation == IsolationSchema {
		database.Source = s.address.shared(module)
		return &Login{Database: database}, nil
	}
	password := newPassword()
	verifier, err := newVerifier(password)
	if err != nil {
		return nil, err
	}
	made := &session{role: s.names.login(module), module: module, access: access, verifier: verifier}
	s.keep(made) // first: a renewal must not take it for one that is left over
	if err := s.transaction(ctx, func(tx *gorm.DB) error { return s.create(tx, made) }); err != nil {
		s.release(made) // it may be there: an answer can be lost
		return nil, fmt.Errorf("make the login: %w", err)
	}
	database.Source = s.address.with(made.role, password, module)
	return &Login{
		Database: database, release: func() { s.release(made) },
		end: func(ctx context.Context) error { return s.closeLogin(ctx, made) },
	}, nil
}

func (s *server) closeLogin(ctx context.Context, made *session) error {
	ctx, cancel := context.WithTimeout(ctx, endWait)
	defer cancel()
	if err := s.end(ctx, []*session{made}); err != nil {
		s.release(made)
		return fmt.Errorf("take back the login of module %s: %w", made.module, err)
	}
	return nil
}

func (s *server) keep(made *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[made.role] = made
}

// release leaves it to Run to end the session.
func (s *server) release(made *session) {
	s.mu.Lock()
	s.released = append(s.released, made)
	delete(s.live, made.role)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// create makes the role and the row that remembers it. The role's rights are those of its group, and what it makes belongs to
// the group; its own are only to connect.
func (s *server) create(tx *gorm.DB, made *session) error {
	expires, err := expiry(tx)
	if err != nil {
		return err
	}
	row := loginRow{Role: made.role, Module: made.module, Access: made.access.String(), Daemon: s.daemon, ExpiresAt: expires}
	if err := tx.Create(&row).Error; err != nil {
		return err
	}
	conns, settings := s.ModuleMaxConns, []string{"statement_timeout = '30s'"}
	if made.access == Owner {
		conns, settings = ownerConns, []string{"statement_timeout = 0", "lock_timeout = '10s'"}
	}
	group := s.group(made.module, made.access)
	settings = append(settings, "role = "+literal(group), "search_path = "+ident(made.module),
		"idle_in_transaction_session_timeout = '60s'")
	statements := []string{fmt.Sprintf(
		"CREATE ROLE %s LOGIN CONNECTION LIMIT %d PASSWORD %s VALID UNTIL %s IN ROLE %s ROLE CURRENT_USER",
		ident(made.role), conns, literal(made.verifier), timestamp(expires), ident(group))}
	for _, setting := range settings {
		statements = append(statements, "ALTER ROLE "+ident(made.role)+" SET "+setting)
	}
	return execute(tx, statements...)
}

// expiry is the end of what is made now, by the server's clock.
func expiry(tx *gorm.DB) (end time.Time, err error) {
	err = tx.Raw("SELECT clock_timestamp() + make_interval(secs => ?)", validity.Seconds()).Scan(&end).Error
	return end, err
}

func timestamp(t time.Time) string { return literal(t.UTC().Format(time.RFC3339Nano)) }
