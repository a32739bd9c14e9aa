package identity

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"gorm.io/gorm"
)

// SetPassword gives a user a password without asking for the one before, ends their sessions and voids their one-use links.
func (s *Service) SetPassword(ctx context.Context, id, password string) error {
	u, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	hash, err := s.newHash(ctx, u.Email, password)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, id, func(tx *gorm.DB, r *row) error { return s.setHash(tx, r, hash) })
	if err == nil {
		s.end(ctx, id, EndedPassword)
	}
	return err
}

// ChangePassword is SetPassword for a user who knows the password before. It returns ErrBadCredentials if that is wrong, if there
// is none, or if the user is disabled.
func (s *Service) ChangePassword(ctx context.Context, id, old, password string) error {
	if !validID(id) {
		return ErrNotFound
	}
	known, err := take(s.db.WithContext(ctx), "id = ?", id)
	if err != nil {
		return err
	}
	if err := checkPassword(known.Email, password); err != nil {
		return err
	}
	if err := s.mayEnter(ctx, known, old); err != nil {
		return err
	}
	hash, err := s.newHash(ctx, known.Email, password)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, id, func(tx *gorm.DB, r *row) error {
		if r.PasswordHash != known.PasswordHash || r.Disabled {
			return ErrBadCredentials // since we looked
		}
		return s.setHash(tx, r, hash)
	})
	if err == nil {
		s.end(ctx, id, EndedPassword)
	}
	return err
}

// newHash checks a password and hashes it.
func (s *Service) newHash(ctx context.Context, email, password string) (string, error) {
	if err := checkPassword(email, password); err != nil {
		return "", err
	}
	return s.hasher.hash(ctx, password)
}

// setHash changes the password of a user whom change holds. Links to choose one have had their day.
func (s *Service) setHash(tx *gorm.DB, r *row, hash string) error {
	now := s.now()
	r.PasswordHash, r.PasswordChangedAt = hash, &now
	return voidLinks(tx, r.ID)
}

// Verify returns the user who signs in with address and password, or ErrBadCredentials: for an address that nobody has, a wrong
// password, a user without one and a disabled user alike, after the same work. Any other error means that it could not find out:
// nobody may be let in then. It takes tens of milliseconds, and more while others sign in; ctx bounds the wait.
func (s *Service) Verify(ctx context.Context, email, password string) (User, error) {
	email, err := NormalizeEmail(email)
	if err != nil {
		email = "" // nobody's
	}
	r, err := take(s.db.WithContext(ctx), "email = ?", email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, fmt.Errorf("look up the user: %w", err)
	}
	if err := s.mayEnter(ctx, r, password); err != nil {
		return User{}, err
	}
	if s.hasher.outdated(r.PasswordHash) {
		s.rehash(ctx, r, password)
	}
	return r.user(), nil
}

// mayEnter returns ErrBadCredentials for whoever may not sign in as r, the zero row included. What no password can be is refused
// without work: that says nothing about anybody.
func (s *Service) mayEnter(ctx context.Context, r row, password string) error {
	if len(password) > maxPassword || !utf8.ValidString(password) {
		return ErrBadCredentials
	}
	matches, err := s.hasher.matches(ctx, r.PasswordHash, password)
	if err != nil {
		return err
	}
	if !matches || r.Disabled {
		return ErrBadCredentials
	}
	return nil
}

// rehash stores the password, now that it is known, as new ones are. If that fails, the next time will do.
func (s *Service) rehash(ctx context.Context, r row, password string) {
	hash, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.db.WithContext(ctx).Model(&row{}).Where("id = ? AND password_hash = ?", r.ID, r.PasswordHash).
			Update("password_hash", hash).Error
	}
	if err != nil {
		s.log.Warn("a password could not be hashed anew", "user", r.ID, "error", err)
	}
}
