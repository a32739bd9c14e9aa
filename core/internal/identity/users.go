package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"
)

// Create makes a user. It returns ErrEmailTaken if another one has the address.
func (s *Service) Create(ctx context.Context, n NewUser) (User, error) {
	r, err := s.prepare(ctx, n)
	if err != nil {
		return User{}, err
	}
	if err := insert(s.db.WithContext(ctx), &r); err != nil {
		return User{}, err
	}
	return r.user(), nil
}

// prepare checks n and hashes its password, which is too long a work for a transaction.
func (s *Service) prepare(ctx context.Context, n NewUser) (row, error) {
	r, err := s.plain(n.Email, n.Name)
	if err != nil || n.Password == nil {
		return r, err
	}
	r.PasswordHash, err = s.newHash(ctx, r.Email, *n.Password)
	r.PasswordChangedAt = &r.CreatedAt
	return r, err
}

// plain is a new user without a password.
func (s *Service) plain(email, name string) (row, error) {
	email, err := NormalizeEmail(email)
	if err != nil {
		return row{}, err
	}
	if name, err = normalizeName(name); err != nil {
		return row{}, err
	}
	id, err := newID()
	now := s.now()
	return row{ID: id, Email: email, Name: name, NameKey: lower(name), CreatedAt: now, UpdatedAt: now}, err
}

func insert(db *gorm.DB, r *row) error { return explained("store the user", db.Create(r).Error) }

// explained names the one way in which storing a user fails that people can do something about.
func explained(act string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, gorm.ErrDuplicatedKey):
		return fmt.Errorf("%w (fix: choose another one, or use that user)", ErrEmailTaken)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// Get returns a user.
func (s *Service) Get(ctx context.Context, id string) (User, error) {
	if !validID(id) {
		return User{}, ErrNotFound
	}
	return s.find(ctx, "id = ?", id)
}

// FindByEmail returns the user with this address, however it is spelt.
func (s *Service) FindByEmail(ctx context.Context, email string) (User, error) {
	email, err := NormalizeEmail(email)
	if err != nil {
		return User{}, ErrNotFound
	}
	return s.find(ctx, "email = ?", email)
}

func (s *Service) find(ctx context.Context, condition string, value string) (User, error) {
	r, err := take(s.db.WithContext(ctx), condition, value)
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("look up the user: %w", err)
	}
	return r.user(), err
}

// Change is what Update changes: what is nil stays.
type Change struct {
	Email *string
	Name  *string
}

// Update changes what a user is called. Another address voids the user's one-use links: they were sent to the one before. It
// returns ErrEmailTaken if another user has the address.
func (s *Service) Update(ctx context.Context, id string, c Change) (User, error) {
	var change row
	var err error
	if c.Email != nil {
		if change.Email, err = NormalizeEmail(*c.Email); err != nil {
			return User{}, err
		}
	}
	if c.Name != nil {
		if change.Name, err = normalizeName(*c.Name); err != nil {
			return User{}, err
		}
	}
	r, err := s.change(ctx, id, func(tx *gorm.DB, r *row) error {
		if c.Name != nil {
			r.Name, r.NameKey = change.Name, lower(change.Name)
		}
		if c.Email == nil || r.Email == change.Email {
			return nil
		}
		r.Email = change.Email
		return voidLinks(tx, r.ID)
	})
	return r.user(), err
}

// SetDisabled keeps a user out, or lets them in again. It voids the one-use links of those it keeps out. A second call changes
// nothing, but ends their sessions again.
func (s *Service) SetDisabled(ctx context.Context, id string, disabled bool) error {
	_, err := s.change(ctx, id, func(tx *gorm.DB, r *row) error {
		r.Disabled = disabled
		if !disabled {
			return nil
		}
		if err := s.leaving(ctx, tx, id, EndedDisabled); err != nil {
			return err
		}
		return voidLinks(tx, r.ID)
	})
	if err == nil && disabled {
		s.end(ctx, id, EndedDisabled)
	}
	return err
}

// Delete removes a user for good, with all that is kept here about them. Their id is never used again.
func (s *Service) Delete(ctx context.Context, id string) error {
	if !validID(id) {
		return ErrNotFound
	}
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if _, err := take(forUpdate(tx), "id = ?", id); err != nil {
			return err
		}
		if err := s.leaving(ctx, tx, id, EndedDeleted); err != nil {
			return err
		}
		return tx.Delete(&row{}, "id = ?", id).Error // the tables' foreign keys take the rest
	})
	if err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	s.end(ctx, id, EndedDeleted)
	return nil
}

// Active returns those of the users who can sign in. It asks through tx, which may be a transaction.
func Active(tx *gorm.DB, users []string) (active []string, err error) {
	for some := range slices.Chunk(users, MaxPage) {
		var found []string
		if err := tx.Model(&row{}).Where("id IN ? AND NOT disabled", some).Pluck("id", &found).Error; err != nil {
			return nil, fmt.Errorf("look up users: %w", err)
		}
		active = append(active, found...)
	}
	return active, nil
}

// change lets work change a user whom nobody else changes in the meantime, and stores the result with whatever else work stores
// through tx: all of it, or nothing.
func (s *Service) change(ctx context.Context, id string, work func(tx *gorm.DB, r *row) error) (row, error) {
	if !validID(id) {
		return row{}, ErrNotFound
	}
	var r row
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
		if r, err = take(forUpdate(tx), "id = ?", id); err != nil {
			return err
		}
		if err := work(tx, &r); err != nil {
			return err
		}
		r.UpdatedAt = s.now()
		return explained("store user "+id, tx.Model(&r).Select("*").Updates(&r).Error)
	})
	if err != nil {
		return row{}, err
	}
	return r, nil
}
