// Package auth knows whose the credentials of requests are: the sessions of people (access and refresh tokens), API tokens,
// sign-ins at other providers, and the tickets by which modules show on whose behalf they call. A secret is shown once; what
// is stored is its SHA-256, which is enough because 256 random bits cannot be guessed.
//
// What is judged, fails closed: an error that is none of this package's own means that it could not find out, and comes with no
// identity. How long a replica may go on to accept what another one ended is cacheTime (30 s); what it ended itself is refused
// at once.
//
// Floor 2. It must not know HTTP, passwords or accounts (identity, through Options.Users), nor whether a permission exists or
// what it allows (authz): it keeps the patterns that it is given.
package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
)

var (
	// ErrInvalidToken is what an unknown, expired, revoked or malformed token gets, without a hint at which it is.
	ErrInvalidToken = errors.New("the token is not valid (fix: sign in again, or make one with `platformd token create`)")
	// ErrNotFound means that there is no token with the given id.
	ErrNotFound = errors.New("there is no such token (fix: `platformd token ls` lists them)")
	// ErrNoUser is what Options.Users says of a user that does not exist.
	ErrNoUser = errors.New("there is no such user (fix: `platformd user ls` lists them)")
	// ErrBadCredentials is the one answer to an unknown email, a wrong password and a disabled user.
	ErrBadCredentials = errors.New("the email or the password is wrong (fix: try again, or ask an administrator for a new password)")
	// ErrSessionEnded is what a refresh token gets that does not, or does no more, continue a session.
	ErrSessionEnded = errors.New("the session has ended (fix: sign in again)")
	// ErrNoSession means that there is no session with the given id.
	ErrNoSession = errors.New("there is no such session (fix: list the sessions again; it may have ended)")
)

// Identity is whom a credential stands for, and what it opens. It is shared: do not change it.
type Identity struct {
	Principal link.Principal
	// Permissions bounds what the credential opens, as patterns that authz.Match reads; nil = all that the user may (a session).
	// For a service token (Principal.Kind == link.KindToken) they are also all that it has.
	Permissions []string
	// Session is the id of the session or token, for audit and logout.
	Session string
}

// User is what this package needs to know of a person.
type User struct {
	ID       string
	Name     string // for people; may be empty
	Email    string
	Disabled bool
	// Stamp changes with the user's password; "" = unknown. A session that began under another stamp has ended, so that a sign-in
	// that overlaps a change of the password cannot outlive it.
	Stamp string
}

func (u *User) label() string {
	if u.Name == "" {
		return u.Email
	}
	return u.Name
}

// Users are the accounts, which another room keeps. The funcs are safe for concurrent use. An error that is none of those
// named here means that it could not be found out.
type Users struct {
	// Verify returns whose the email and password are, or ErrBadCredentials. It takes the same time for every wrong answer.
	Verify func(ctx context.Context, email, password string) (User, error)
	// Get returns the user with this id, or ErrNoUser.
	Get func(ctx context.Context, id string) (User, error)
	// External returns the user whom a provider knows, made now if the provider may bring new ones, or ErrNoUser.
	External func(ctx context.Context, who External) (User, error)
	// Normal returns the one spelling of an email that Verify takes for the same as others; nil: lower case, no spaces around.
	Normal func(email string) string
}

// Options of New. The zero value offers API tokens of services only.
type Options struct {
	Users Users
	// Issuer is the claim iss of access tokens, the same on every replica; "" = platformd.
	Issuer string
	// AccessTTL is how long an access token is valid, RefreshTTL how long a session lasts without use; 0 = 15 minutes, 30 days.
	AccessTTL, RefreshTTL time.Duration
	// OIDC are other providers that people may sign in with.
	OIDC []Issuer
	// Roles hears, at each sign-in with a provider that has a RoleClaim, which roles the provider's word is worth: all of them,
	// so that those it gave before and does not give now are taken back. An error refuses the sign-in.
	Roles func(ctx context.Context, userID, issuer string, roles []string) error
	// Log hears what went wrong without failing anybody, and refresh tokens that came twice; nil discards it.
	Log hclog.Logger
}

func (o Options) withDefaults() Options {
	if o.Issuer == "" {
		o.Issuer = "platformd"
	}
	if o.AccessTTL == 0 {
		o.AccessTTL = 15 * time.Minute
	}
	if o.RefreshTTL == 0 {
		o.RefreshTTL = 720 * time.Hour
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o
}

// Service is safe for concurrent use.
type Service struct {
	options  Options
	db       *gorm.DB
	cache    *cache
	keys     *keyring
	throttle *throttle
	usage    *usage
	issuers  map[string]*issuer
	now      func() time.Time
}

// New returns the service over the core's database, whose tables it makes or brings up to date, and the keys in them. No
// provider is asked yet.
func New(ctx context.Context, db *gorm.DB, o Options) (*Service, error) {
	if err := storage.MigrateCore(db.WithContext(ctx), "auth", steps()...); err != nil {
		return nil, err
	}
	return open(ctx, db, o, db.NowFunc)
}

// open is New with a clock, on tables that are up to date.
func open(ctx context.Context, db *gorm.DB, o Options, now func() time.Time) (*Service, error) {
	o = o.withDefaults()
	s := &Service{
		options: o, db: db, cache: newCache(), keys: newKeyring(db, o.AccessTTL, now), throttle: newThrottle(now),
		usage: newUsage(), issuers: make(map[string]*issuer, len(o.OIDC)), now: now,
	}
	for i := range o.OIDC {
		if err := s.addIssuer(o.OIDC[i]); err != nil {
			return nil, err
		}
	}
	return s, s.keys.ensure(ctx)
}

// credential is one that Authenticate has not seen lately.
type credential struct {
	text string
	hash digest
	now  time.Time
}

// Authenticate returns whom a secret stands for: an API token's, or the access token of a session; or ErrInvalidToken. Any other
// error means that it could not find out: the caller must refuse then too.
//
// It is on the path of every request. A string that is certainly no credential costs no query; one in use is remembered until
// it expires or is ended, for 30 s at most, so that what another replica ended ends here too.
func (s *Service) Authenticate(ctx context.Context, secret string) (Identity, error) {
	lookup := s.session
	hash, ok := digest{}, false
	if strings.HasPrefix(secret, prefix) {
		lookup = s.apiToken
		hash, ok = parse(secret)
	} else if ok = len(secret) <= maxAccessToken; ok {
		hash = sha256.Sum256([]byte(secret))
	}
	if !ok {
		return Identity{}, ErrInvalidToken
	}
	now := s.now()
	if identity, ok := s.cache.get(hash, now); ok {
		return identity, nil
	}
	seen := s.cache.revocations() // before the query: what is ended from here on makes its answer stale
	identity, until, err := lookup(ctx, credential{secret, hash, now})
	if err != nil {
		return Identity{}, err
	}
	s.cache.put(hash, entry{identity: identity, until: earlier(until, now.Add(cacheTime))}, seen)
	return identity, nil
}

// user returns a user who may still do things, or ErrNoUser.
func (s *Service) user(ctx context.Context, id string) (User, error) {
	if s.options.Users.Get == nil {
		return User{}, errors.New("look up a user: there are no accounts (fix: set Options.Users)")
	}
	user, err := s.options.Users.Get(ctx, id)
	switch {
	case err != nil:
		return User{}, err
	case user.Disabled || user.ID != id || id == "":
		return User{}, ErrNoUser
	}
	return user, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
