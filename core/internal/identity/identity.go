// Package identity knows the platform's users: their accounts, the passwords they sign in with, the one-use links by which an
// account is opened, and which accounts elsewhere (OpenID Connect) are theirs. Of a password an argon2id hash is stored, of a
// link the SHA-256 of its 256 random bits.
//
// Floor 2. It must not know HTTP, what a session or a token is (auth), nor what anybody may do (authz): whoever makes the first
// user hands it a func that makes that user an administrator.
package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
)

var (
	// ErrNotFound means that there is no user with the given id or address.
	ErrNotFound = errors.New("there is no such user (fix: `platformd user ls` lists them)")
	// ErrEmailTaken means that another user has the address. What is returned matches it, and says what to do about it.
	ErrEmailTaken = errors.New("another user has this e-mail address")
	// ErrBadCredentials is what everybody gets who may not sign in, without a hint at why.
	ErrBadCredentials = errors.New("e-mail address and password do not open an account " +
		"(fix: correct them, or ask an administrator for a new password)")
	// ErrDisabled means that something was asked for that a disabled user cannot have. Nobody who signs in gets it.
	ErrDisabled = errors.New("the user is disabled (fix: enable the user first)")
)

// User is somebody with an account. Times are UTC.
type User struct {
	ID          string    `json:"id"`    // a UUIDv7 in lower case; never used again
	Email       string    `json:"email"` // as NormalizeEmail spells it; no two users have the same
	Name        string    `json:"name"`  // for people; not unique, may be empty
	Disabled    bool      `json:"disabled"`
	HasPassword bool      `json:"has_password"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	// PasswordChangedAt is nil for a user who never had a password.
	PasswordChangedAt *time.Time `json:"-"`
}

// NewUser is what a user is made of.
type NewUser struct {
	Email    string
	Name     string  // up to 200 printable characters; may be empty
	Password *string // nil: none, so that nobody can sign in with one
}

// Why a user's sessions are to end: what Options.Ended is told.
const (
	EndedDisabled = "disabled"
	EndedDeleted  = "deleted"
	EndedPassword = "password_changed"
)

// Options are what a Service needs of others. The zero value is usable.
type Options struct {
	// Leaving is asked in the transaction that disables or deletes a user, with the reason, and can refuse it. It must use tx only.
	Leaving func(ctx context.Context, tx *gorm.DB, userID, why string) error
	// Ended is called after a change for which everything that the user is signed in with must end has been committed, with one
	// of the reasons above. It may be called again for the same change. Its context does not end with the caller's.
	Ended func(ctx context.Context, userID, why string)
	// Log gets what went wrong beside the point; nil discards it.
	Log hclog.Logger
	// Now is the time; nil: the database's clock.
	Now func() time.Time
}

// Service is safe for concurrent use, and several daemons may have one on the same database. Unless a method says otherwise, an
// input that makes no sense is a *problem.Problem, and a user who is not there is ErrNotFound.
type Service struct {
	db      *gorm.DB
	leaving func(ctx context.Context, tx *gorm.DB, userID, why string) error
	ended   func(ctx context.Context, userID, why string)
	log     hclog.Logger
	now     func() time.Time
	hasher  *hasher
}

// New returns the service over the core's database, whose tables it makes or brings up to date.
func New(ctx context.Context, db *gorm.DB, o Options) (*Service, error) {
	if err := storage.MigrateCore(db.WithContext(ctx), "identity", steps()...); err != nil {
		return nil, err
	}
	s := &Service{db: db, leaving: o.Leaving, ended: o.Ended, log: o.Log, now: o.Now, hasher: newHasher()}
	if s.leaving == nil {
		s.leaving = func(context.Context, *gorm.DB, string, string) error { return nil }
	}
	if s.ended == nil {
		s.ended = func(context.Context, string, string) {}
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.now == nil {
		s.now = db.NowFunc
	}
	return s, nil
}

// end tells of a committed change. Who asked for it may have left by now: the sessions end all the same.
func (s *Service) end(ctx context.Context, id, why string) {
	s.ended(context.WithoutCancel(ctx), id, why)
}

// newID sorts by the time it was made at.
func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return id.String(), nil
}

// validID tells whether newID can have made the id. What it cannot have made costs no query, and no database has to hold it.
func validID(id string) bool {
	parsed, err := uuid.Parse(id)
	return err == nil && parsed.String() == id
}
