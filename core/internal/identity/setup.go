package identity

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/problem"
)

// ErrSetupDone means that there is a user, so that nobody is let in as the first any more.
var ErrSetupDone = errors.New("the platform has been set up already (fix: sign in, or ask an administrator)")

// Then completes, within tx, what makes the first user an administrator: an error undoes all of it. It must use no other
// connection than tx, which holds a lock on the users.
type Then func(ctx context.Context, tx *gorm.DB, first User) error

// NeedsSetup tells whether there are no users yet.
func (s *Service) NeedsSetup(ctx context.Context) (bool, error) { return none(s.db.WithContext(ctx)) }

func none(db *gorm.DB) (bool, error) {
	var some bool
	if err := db.Raw("SELECT EXISTS (SELECT 1 FROM " + usersTable + ")").Scan(&some).Error; err != nil {
		return false, fmt.Errorf("look whether there are users: %w", err)
	}
	return !some, nil
}

// SetupLink makes a link valid for 60 minutes, by which whoever has it becomes the first user. It takes the place of the one
// before. Once there are users it returns ErrSetupDone.
func (s *Service) SetupLink(ctx context.Context) (Link, error) {
	s.forget(ctx)
	var made Link
	err := s.alone(ctx, func(tx *gorm.DB) (err error) {
		if err := voidSetup(tx); err != nil {
			return err
		}
		made, err = s.issue(tx, PurposeSetup, nil)
		return err
	})
	return made, err
}

func voidSetup(tx *gorm.DB) error {
	if err := tx.Delete(&onetime{}, "purpose = ? AND used_at IS NULL", PurposeSetup).Error; err != nil {
		return fmt.Errorf("void the setup link: %w", err)
	}
	return nil
}

// CompleteSetup makes the first user, once, however many try at the same moment on however many daemons: the others get
// ErrLinkUsed or ErrSetupDone. then runs in the same transaction; nil does nothing. On any error the link stays as it is.
func (s *Service) CompleteSetup(ctx context.Context, secret string, n NewUser, then Then) (User, error) {
	if _, err := s.open(s.db.WithContext(ctx), secret, PurposeSetup); err != nil {
		return User{}, err // before a stranger makes us hash
	}
	if n.Password == nil {
		return User{}, problem.Invalid("the first user needs a password (fix: choose one with at least %d characters)", minPassword)
	}
	r, err := s.prepare(ctx, n)
	if err != nil {
		return User{}, err
	}
	err = s.alone(ctx, func(tx *gorm.DB) error {
		if err := s.use(tx, secret, PurposeSetup); err != nil {
			return err
		}
		return first(ctx, tx, &r, then)
	})
	if err != nil {
		return User{}, err
	}
	return r.user(), nil
}

// Bootstrap makes the first user of what the operator configured, and tells whether it did: where there are users it does
// nothing, whatever address and password are. Of many daemons that start at the same moment one makes the user.
func (s *Service) Bootstrap(ctx context.Context, email, password string, then Then) (made bool, err error) {
	if needed, err := s.NeedsSetup(ctx); err != nil || !needed {
		return false, err
	}
	r, err := s.prepare(ctx, NewUser{Email: email, Password: &password})
	if err != nil {
		return false, err
	}
	err = s.alone(ctx, func(tx *gorm.DB) error {
		if err := voidSetup(tx); err != nil {
			return err
		}
		return first(ctx, tx, &r, then)
	})
	if errors.Is(err, ErrSetupDone) {
		return false, nil // another daemon was faster
	}
	return err == nil, err
}

// alone runs work while there are no users, and nobody else can make one; ErrSetupDone if there are.
func (s *Service) alone(ctx context.Context, work func(tx *gorm.DB) error) error {
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := lockUsers(tx); err != nil {
			return fmt.Errorf("lock the users: %w", err)
		}
		if needed, err := none(tx); err != nil {
			return err
		} else if !needed {
			return ErrSetupDone
		}
		return work(tx)
	})
}

func first(ctx context.Context, tx *gorm.DB, r *row, then Then) error {
	if err := insert(tx, r); err != nil || then == nil {
		return err
	}
	if err := then(ctx, tx, r.user()); err != nil {
		return fmt.Errorf("complete the first user: %w", err)
	}
	return nil
}
