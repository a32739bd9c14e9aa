// Package auth makes API tokens and knows whose they are. A token is shown once; what is stored is its SHA-256, which is
// enough because 256 random bits cannot be guessed.
//
// Floor 2. It must not know HTTP, nor whether a permission exists or what it allows (authz): it keeps the patterns that it
// is given.
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/link"
)

var (
	// ErrInvalidToken is what an unknown, expired, revoked or malformed token gets, without a hint at which it is.
	ErrInvalidToken = errors.New("the token is not valid (fix: make one with `platformd token create`)")
	// ErrNotFound means that there is no token with the given id.
	ErrNotFound = errors.New("there is no such token (fix: `platformd token ls` lists them)")
)

// Token is an API token without its secret. Times are UTC.
type Token struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"` // for people; not unique
	Permissions []string   `json:"permissions"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   time.Time  `json:"expires_at"`
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
}

// NewToken is what a token is made of.
type NewToken struct {
	Name        string        // up to 100 printable characters; may be empty
	Permissions []string      // patterns that authz.Match reads; may be empty
	TTL         time.Duration // 1 s to 10 years
}

// Identity is whom a credential stands for, and what it opens. It is shared: do not change it.
type Identity struct {
	Principal link.Principal
	// Permissions bounds what the credential opens, as patterns that authz.Match reads; nil = all that the user may (a session).
	// For a service token (Principal.Kind == link.KindToken) they are also all that it has.
	Permissions []string
	// Session is the id of the session or token, for audit and logout.
	Session string
}

// Service is safe for concurrent use.
type Service struct {
	db    *gorm.DB
	cache *cache
	now   func() time.Time
}

// New returns the service over the core's database, whose table it makes or brings up to date.
func New(db *gorm.DB) (*Service, error) {
	if err := storage.MigrateCore(db, "auth", steps()...); err != nil {
		return nil, err
	}
	return &Service{db: db, cache: newCache(), now: db.NowFunc}, nil
}

// Create makes a token and returns its secret, which nobody can ask for again. A bad NewToken is a *problem.Problem.
func (s *Service) Create(ctx context.Context, n NewToken) (secret string, t Token, err error) {
	if err := n.check(); err != nil {
		return "", Token{}, err
	}
	secret, hash := newSecret()
	now := s.now()
	r := row{
		ID: newID(), Hash: hash[:], Name: n.Name, Permissions: unique(n.Permissions), CreatedAt: now, ExpiresAt: now.Add(n.TTL),
	}
	if err := s.db.WithContext(ctx).Create(&r).Error; err != nil {
		return "", Token{}, fmt.Errorf("store the token: %w", err)
	}
	return secret, r.token(), nil
}

// List returns every token, expired and revoked ones too, the newest first.
func (s *Service) List(ctx context.Context) ([]Token, error) {
	var rows []row
	if err := s.db.WithContext(ctx).Order("created_at DESC, id").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	tokens := make([]Token, len(rows))
	for i := range rows {
		tokens[i] = rows[i].token()
	}
	return tokens, nil
}

// Revoke ends a token: once it has returned, Authenticate refuses it. A second Revoke changes nothing. It returns
// ErrNotFound if there is no token with this id.
func (s *Service) Revoke(ctx context.Context, id string) error {
	db := s.db.WithContext(ctx)
	err := db.Take(&row{}, "id = ?", id).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return ErrNotFound
	}
	if err == nil {
		err = db.Model(&row{}).Where("id = ? AND revoked_at IS NULL", id).Update("revoked_at", s.now()).Error
	}
	s.cache.forget(id) // even after an error: the change may have been made
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// Authenticate returns whom a secret stands for, or ErrInvalidToken. Any other error means that it could not find out: the
// caller must refuse then too.
//
// It is on the path of every request. A string that Create cannot have made costs no query; a token in use is remembered
// until it expires or is revoked, for 30 s at most, so that a token revoked by another replica ends here too.
func (s *Service) Authenticate(ctx context.Context, secret string) (Identity, error) {
	hash, ok := parse(secret)
	if !ok {
		return Identity{}, ErrInvalidToken
	}
	now := s.now()
	if identity, ok := s.cache.get(hash, now); ok {
		return identity, nil
	}
	seen := s.cache.revocations() // before the query: a revocation from here on makes its answer stale
	var r row
	err := s.db.WithContext(ctx).Take(&r, "hash = ?", hash[:]).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return Identity{}, ErrInvalidToken
	case err != nil:
		return Identity{}, fmt.Errorf("look up the token: %w", err)
	case r.RevokedAt != nil || !now.Before(r.ExpiresAt):
		return Identity{}, ErrInvalidToken
	}
	identity := r.identity()
	s.cache.put(hash, entry{identity: identity, until: earlier(r.ExpiresAt, now.Add(cacheTime))}, seen)
	return identity, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
