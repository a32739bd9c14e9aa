package identity

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/plugin-api/problem"
)

var (
	// ErrNotLinked means that an account elsewhere is nobody's here, and that none may be made for it.
	ErrNotLinked = errors.New("no user has this account (fix: ask an administrator for a user with its e-mail address)")
	// ErrEmailUnverified means that nobody vouches for the address that an account elsewhere came with.
	ErrEmailUnverified = errors.New("the provider does not vouch for the account's e-mail address " +
		"(fix: verify the address with the provider, or ask an administrator to have it vouched for)")
	// ErrSetupFirst means that whoever signs in from elsewhere would be the first user, and nobody an administrator.
	ErrSetupFirst = errors.New("the platform has no administrator yet (fix: use the setup link; `platformd setup-link` prints one)")
)

// External is an account elsewhere that has just been signed in to.
type External struct {
	Issuer        string // who vouches for the rest
	Subject       string // whose account it is, in the issuer's own words; never somebody else's later
	Email         string
	EmailVerified bool // the issuer vouches for Email
	Name          string
	Create        bool // make a user if there is none with this address
}

// External returns the user whose account it is. One that is nobody's becomes that of the user with the same address, or of a
// new user without a password, but only if the issuer vouches for the address, and if that user has no other account with the
// issuer: addresses are given to others, subjects are not. A disabled user is ErrBadCredentials. Else it returns ErrEmailTaken,
// ErrEmailUnverified, ErrNotLinked or ErrSetupFirst.
func (s *Service) External(ctx context.Context, e External) (User, error) {
	if err := e.check(); err != nil {
		return User{}, err
	}
	r, err := linked(s.db.WithContext(ctx), e)
	if errors.Is(err, ErrNotFound) {
		r, err = s.connect(ctx, e)
	}
	switch {
	case err != nil:
		return User{}, err
	case r.Disabled:
		return User{}, ErrBadCredentials
	}
	return r.user(), nil
}

// maxClaim bounds issuer and subject, in bytes: OpenID Connect's own limit for a subject.
const maxClaim = 255

func (e External) check() error {
	for _, claim := range []string{e.Issuer, e.Subject} {
		if claim == "" || len(claim) > maxClaim || !canonical.Printable(claim) {
			return problem.Invalid("issuer and subject have 1 to %d printable characters (fix: see what the provider sends)", maxClaim)
		}
	}
	return nil
}

func linked(db *gorm.DB, e External) (row, error) {
	r, err := take(db, "id = (SELECT user_id FROM "+linksTable+" WHERE issuer = ? AND subject = ?)", e.Issuer, e.Subject)
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("look up the user of an external account: %w", err)
	}
	return r, err
}

// connectTries bounds how often it is looked again what others have made in the meantime.
const connectTries = 3

// connect makes an account that was nobody's somebody's.
func (s *Service) connect(ctx context.Context, e External) (r row, err error) {
	fresh, err := s.plain(e.Email, e.displayName())
	if err != nil {
		return row{}, err
	}
	for range connectTries {
		err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
			r, err = s.connectIn(tx, e, fresh)
			return err
		})
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			break
		}
	}
	return r, err
}

// displayName is the name if it is one: it is not worth keeping somebody out for.
func (e External) displayName() string {
	name, err := normalizeName(e.Name)
	if err != nil {
		return ""
	}
	return name
}

func (s *Service) connectIn(tx *gorm.DB, e External, fresh row) (row, error) {
	if r, err := linked(tx, e); !errors.Is(err, ErrNotFound) {
		return r, err // since we looked
	}
	r, err := take(forUpdate(tx), "email = ?", fresh.Email)
	switch {
	case err == nil:
		err = mayTake(tx, e, r)
	case errors.Is(err, ErrNotFound):
		r, err = fresh, makeFor(tx, e, fresh)
	}
	if err != nil || r.Disabled {
		return r, err
	}
	return r, tx.Create(&link{Issuer: e.Issuer, Subject: e.Subject, UserID: r.ID, CreatedAt: s.now()}).Error
}

// mayTake tells whether the account may become that of r, who has its address. If it has just become that, all is well too.
func mayTake(tx *gorm.DB, e External, r row) error {
	if !e.EmailVerified {
		return fmt.Errorf("%w, and the provider does not vouch for it "+
			"(fix: verify the address with the provider, or sign in with a password)", ErrEmailTaken)
	}
	var others int64
	err := tx.Model(&link{}).Where("issuer = ? AND user_id = ? AND subject <> ?", e.Issuer, r.ID, e.Subject).Count(&others).Error
	if err == nil && others > 0 {
		err = fmt.Errorf("%w, and another account with the provider "+
			"(fix: sign in with that one, or ask an administrator to give one of the users another address)", ErrEmailTaken)
	}
	return err
}

// makeFor makes a user for the account if one may be made.
func makeFor(tx *gorm.DB, e External, fresh row) error {
	switch needed, err := none(tx); {
	case err != nil:
		return err
	case needed:
		return ErrSetupFirst
	case !e.Create:
		return ErrNotLinked
	case !e.EmailVerified:
		return ErrEmailUnverified
	}
	return tx.Create(&fresh).Error
}
