package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

var (
	// ErrLinkInvalid means that a one-use link was never made, or does not count any more: another took its place.
	ErrLinkInvalid = errors.New("the link is not valid (fix: copy it whole, or ask for a new one)")
	// ErrLinkUsed means that a one-use link has done its work.
	ErrLinkUsed = errors.New("the link has been used already (fix: sign in, or ask for a new one)")
	// ErrLinkExpired means that a one-use link was used too late.
	ErrLinkExpired = errors.New("the link has expired (fix: ask for a new one)")
)

// Purpose is what a one-use link is for.
type Purpose string

// The purposes of one-use links.
const (
	PurposeSetup  Purpose = "setup"  // to make the first user, by CompleteSetup
	PurposeInvite Purpose = "invite" // to choose a first password, by Accept
	PurposeReset  Purpose = "reset"  // to choose another one, by Accept
)

func (p Purpose) lifetime() time.Duration {
	if p == PurposeInvite {
		return 7 * 24 * time.Hour
	}
	return time.Hour
}

// remembrance is for how long after its end it is known of a link that it was used or has expired.
const remembrance = 30 * 24 * time.Hour

// Link is the secret part of a one-use link. Nobody can ask for it again.
type Link struct {
	Secret    string    `json:"secret"` // 43 characters that need no escaping in a URL
	ExpiresAt time.Time `json:"expires_at"`
}

// Invite makes a user without a password, and a link valid for 7 days by which they choose one. It returns ErrEmailTaken if
// another user has the address.
func (s *Service) Invite(ctx context.Context, email, name string) (User, Link, error) {
	r, err := s.plain(email, name)
	if err != nil {
		return User{}, Link{}, err
	}
	s.forget(ctx)
	var made Link
	err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := insert(tx, &r); err != nil {
			return err
		}
		made, err = s.issue(tx, PurposeInvite, &r.ID)
		return err
	})
	if err != nil {
		return User{}, Link{}, err
	}
	return r.user(), made, nil
}

// ResetLink makes a link valid for 60 minutes by which a user chooses a new password, or a first one. It takes the place of every
// link that the user was given before. It returns ErrDisabled for a disabled user.
func (s *Service) ResetLink(ctx context.Context, id string) (Link, error) {
	if !validID(id) {
		return Link{}, ErrNotFound
	}
	s.forget(ctx)
	var made Link
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r, err := take(forUpdate(tx), "id = ?", id)
		if err != nil {
			return err
		}
		if r.Disabled {
			return ErrDisabled
		}
		if err := voidLinks(tx, id); err != nil {
			return err
		}
		made, err = s.issue(tx, PurposeReset, &id)
		return err
	})
	return made, err
}

// OpenLink is what a link that can be used is for.
type OpenLink struct {
	Purpose Purpose
	User    User // whose password it is about; the zero value for PurposeSetup
}

// CheckLink tells what a link is for, without using it: ErrLinkInvalid, ErrLinkUsed or ErrLinkExpired if for nothing any more.
func (s *Service) CheckLink(ctx context.Context, secret string) (OpenLink, error) {
	found, err := s.open(s.db.WithContext(ctx), secret, PurposeSetup, PurposeInvite, PurposeReset)
	if err != nil {
		return OpenLink{}, err
	}
	opens := OpenLink{Purpose: found.Purpose}
	if found.UserID != nil {
		opens.User, err = s.Get(ctx, *found.UserID)
	}
	return opens, gone(err)
}

// Accept gives the user for whom Invite or ResetLink made the link a password, once, and ends their sessions. A password that
// is refused leaves the link as it is.
func (s *Service) Accept(ctx context.Context, secret, password string) (User, error) {
	found, err := s.open(s.db.WithContext(ctx), secret, PurposeInvite, PurposeReset)
	if err != nil {
		return User{}, err
	}
	u, err := s.Get(ctx, *found.UserID)
	if err != nil {
		return User{}, gone(err)
	}
	hash, err := s.newHash(ctx, u.Email, password)
	if err != nil {
		return User{}, err
	}
	r, err := s.change(ctx, u.ID, func(tx *gorm.DB, r *row) error {
		if err := s.use(tx, secret, PurposeInvite, PurposeReset); err != nil {
			return err
		}
		return s.setHash(tx, r, hash)
	})
	if err != nil {
		return User{}, gone(err)
	}
	s.end(ctx, u.ID, EndedPassword)
	return r.user(), nil
}

// gone: whose user is deleted in the meantime holds a link to nothing.
func gone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrLinkInvalid
	}
	return err
}

// issue stores a new link.
func (s *Service) issue(tx *gorm.DB, purpose Purpose, userID *string) (Link, error) {
	id, err := newID()
	if err != nil {
		return Link{}, err
	}
	now := s.now()
	secret := base64.RawURLEncoding.EncodeToString(random(secretSize))
	hash := sha256.Sum256([]byte(secret))
	r := onetime{ID: id, Hash: hash[:], Purpose: purpose, UserID: userID, CreatedAt: now, ExpiresAt: now.Add(purpose.lifetime())}
	if err := tx.Create(&r).Error; err != nil {
		return Link{}, fmt.Errorf("store the link: %w", err)
	}
	return Link{Secret: secret, ExpiresAt: r.ExpiresAt}, nil
}

// forget removes the links of long ago, of whomever: in no transaction, so that it holds nothing that others wait for. If that
// fails, the next link will do.
func (s *Service) forget(ctx context.Context) {
	err := s.db.WithContext(ctx).Delete(&onetime{}, "expires_at < ?", s.now().Add(-remembrance)).Error
	if err != nil {
		s.log.Warn("old one-use links could not be removed", "error", err)
	}
}

// open returns the link with this secret if it can be used for one of the purposes.
func (s *Service) open(db *gorm.DB, secret string, purposes ...Purpose) (onetime, error) {
	hash, ok := secretHash(secret)
	if !ok {
		return onetime{}, ErrLinkInvalid
	}
	var found onetime
	err := db.Take(&found, "hash = ? AND purpose IN ?", hash, purposes).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return onetime{}, ErrLinkInvalid
	case err != nil:
		return onetime{}, fmt.Errorf("look up the link: %w", err)
	case found.UsedAt != nil:
		return onetime{}, ErrLinkUsed
	case !s.now().Before(found.ExpiresAt):
		return onetime{}, ErrLinkExpired
	}
	return found, nil
}

// use is open for one alone: who comes second finds the link used. Whoever calls it keeps the link's user locked, or all users.
func (s *Service) use(tx *gorm.DB, secret string, purposes ...Purpose) error {
	found, err := s.open(tx, secret, purposes...)
	if err != nil {
		return err
	}
	if err := tx.Model(&found).Update("used_at", s.now()).Error; err != nil {
		return fmt.Errorf("use the link: %w", err)
	}
	return nil
}

// voidLinks ends the links that a user has not used.
func voidLinks(tx *gorm.DB, userID string) error {
	if err := tx.Delete(&onetime{}, "user_id = ? AND used_at IS NULL", userID).Error; err != nil {
		return fmt.Errorf("void the links of user %s: %w", userID, err)
	}
	return nil
}

// secretSize is 256 bits: nobody guesses them, and a fast hash protects them as well as a slow one.
const secretSize = 32

// secretHash is what is stored of a secret; ok is false for a string that issue cannot have made.
func secretHash(secret string) (hash []byte, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) != secretSize || base64.RawURLEncoding.EncodeToString(raw) != secret {
		return nil, false
	}
	sum := sha256.Sum256([]byte(secret))
	return sum[:], true
}
