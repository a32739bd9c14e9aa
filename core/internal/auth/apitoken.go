package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/problem"
)

// Token is an API token without its secret. Times are UTC.
type Token struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`            // for people; not unique
	Owner       string     `json:"owner,omitempty"` // id of the user whose it is; none: a service's
	Permissions []string   `json:"permissions"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   time.Time  `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at,omitempty"` // give or take a minute
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
}

// NewToken is what a token is made of.
type NewToken struct {
	Name        string        // up to 100 printable characters; may be empty
	Owner       string        // id of the user for whom it stands, within Permissions; "" = it stands for itself
	Permissions []string      // patterns that authz.Match reads; may be empty
	TTL         time.Duration // 1 s to 10 years
}

// Create makes a token and returns its secret, which nobody can ask for again. A bad NewToken is a *problem.Problem.
func (s *Service) Create(ctx context.Context, n NewToken) (secret string, t Token, err error) {
	if err := n.check(); err != nil {
		return "", Token{}, err
	}
	if err := s.checkOwner(ctx, n.Owner); err != nil {
		return "", Token{}, err
	}
	secret, hash := newSecret()
	now := s.now()
	r := row{
		ID: newID(), Hash: hash[:], Name: n.Name, Permissions: unique(n.Permissions), CreatedAt: now, ExpiresAt: now.Add(n.TTL),
	}
	if n.Owner != "" {
		r.UserID = &n.Owner
	}
	if err := s.db.WithContext(ctx).Create(&r).Error; err != nil {
		return "", Token{}, fmt.Errorf("store the token: %w", err)
	}
	return secret, r.token(), nil
}

func (s *Service) checkOwner(ctx context.Context, owner string) error {
	if owner == "" {
		return nil
	}
	_, err := s.user(ctx, owner)
	if errors.Is(err, ErrNoUser) {
		return problem.Invalid("the owner of a token must be a user who may sign in (fix: `platformd user ls` lists them)")
	}
	if err != nil {
		return fmt.Errorf("look up the owner of the token: %w", err)
	}
	return nil
}

// List returns the tokens of a user, or every token if owner is "", expired and revoked ones too, the newest first.
func (s *Service) List(ctx context.Context, owner string) ([]Token, error) {
	query := s.db.WithContext(ctx).Order("created_at DESC, id")
	if owner != "" {
		query = query.Where("user_id = ?", owner)
	}
	var rows []row
	if err := query.Find(&rows).Error; err != nil {
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
	s.cache.forgetSession(id) // even after an error: the change may have been made
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

// apiToken returns whom the API token stands for, and until when.
func (s *Service) apiToken(ctx context.Context, c credential) (Identity, time.Time, error) {
	var r row
	err := s.db.WithContext(ctx).Take(&r, "hash = ?", c.hash[:]).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return Identity{}, time.Time{}, ErrInvalidToken
	case err != nil:
		return Identity{}, time.Time{}, fmt.Errorf("look up the token: %w", err)
	case r.RevokedAt != nil || !c.now.Before(r.ExpiresAt):
		return Identity{}, time.Time{}, ErrInvalidToken
	}
	identity := r.identity()
	if r.UserID != nil {
		owner, err := s.user(ctx, *r.UserID)
		if errors.Is(err, ErrNoUser) {
			return Identity{}, time.Time{}, ErrInvalidToken
		}
		if err != nil {
			return Identity{}, time.Time{}, fmt.Errorf("look up the owner of the token: %w", err)
		}
		identity.Principal = principalOf(&owner)
	}
	s.usage.note(r.ID, c.now)
	return identity, r.ExpiresAt, nil
}
