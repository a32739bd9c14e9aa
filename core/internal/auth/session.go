package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// endWait bounds the ending of a session whose refresh token came twice, which goes on when the client leaves.
const endWait = 10 * time.Second

// Tokens are what a sign-in gives (RFC 6749, section 5.1).
type Tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"` // good for one Refresh
	ExpiresIn    int    `json:"expires_in"`    // seconds, of the access token
	TokenType    string `json:"token_type"`    // Bearer

	User    User   `json:"-"` // who signed in, for audit
	Session string `json:"-"`
}

// Client is what is known of who asks.
type Client struct {
	Address   string // IP address, without a port
	UserAgent string
}

// Login is a sign-in with a password.
type Login struct {
	Email, Password    string
	Address, UserAgent string // of the client
}

// ReuseError is an ErrSessionEnded with the reason: a refresh token came a second time, so that two parties have it.
type ReuseError struct{ UserID, Session string }

// Error implements error, and says no more than ErrSessionEnded: one of the two parties is a thief.
func (*ReuseError) Error() string { return ErrSessionEnded.Error() }

// Unwrap makes it an ErrSessionEnded.
func (*ReuseError) Unwrap() error { return ErrSessionEnded }

// Login begins a session. It returns ErrBadCredentials, without a hint at what is wrong, or a *TooManyError after too many wrong
// answers; any other error means that it could not find out.
func (s *Service) Login(ctx context.Context, l Login) (Tokens, error) {
	var user User
	err := s.attempt(ctx, s.normal(l.Email), l.Address, func(ctx context.Context) (err error) {
		user, err = s.verify(ctx, l)
		return err
	})
	if err != nil {
		return Tokens{}, err
	}
	return s.begin(ctx, &user, Client{l.Address, l.UserAgent})
}

// Confirm lets check find out whether a user who has signed in, or somebody who has stolen their session, knows a secret of
// theirs: it returns what check does, ErrBadCredentials for a wrong one; or a *TooManyError, without a check, after too many of
// these. They count against the address as failed sign-ins do, but not against the user's own: a thief must not keep them out.
func (s *Service) Confirm(ctx context.Context, userID, address string, check func(context.Context) error) error {
	return s.attempt(ctx, " user "+userID, address, check) // no email begins with a space, once it is normal
}

// attempt runs check unless too many have failed.
func (s *Service) attempt(ctx context.Context, account, address string, check func(context.Context) error) error {
	try, err := s.throttle.begin(account, address)
	if err != nil {
		return err
	}
	verdict := unknown
	defer func() { try.end(verdict) }()
	switch err = check(ctx); {
	case err == nil:
		verdict = succeeded
	case errors.Is(err, ErrBadCredentials):
		verdict = failed
	}
	return err
}

func (s *Service) normal(email string) string {
	if s.options.Users.Normal != nil {
		return s.options.Users.Normal(email)
	}
	return plainEmail(email)
}

func (s *Service) verify(ctx context.Context, l Login) (User, error) {
	if s.options.Users.Verify == nil {
		return User{}, errors.New("verify a password: there are no accounts (fix: set Options.Users)")
	}
	user, err := s.options.Users.Verify(ctx, l.Email, l.Password)
	switch {
	case errors.Is(err, ErrBadCredentials), errors.Is(err, ErrNoUser):
		return User{}, ErrBadCredentials
	case err != nil:
		return User{}, fmt.Errorf("verify a password: %w", err)
	case user.Disabled || user.ID == "":
		return User{}, ErrBadCredentials
	}
	return user, nil
}

// begin stores a new session, and returns its first tokens.
func (s *Service) begin(ctx context.Context, user *User, client Client) (Tokens, error) {
	now := s.now()
	token := newRefreshToken(newFamily())
	r := sessionRow{
		ID: newID(), UserID: user.ID, Stamp: user.Stamp, Family: token.familyHash(), Hash: token.hash(), Generation: 1,
		CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(s.options.RefreshTTL),
		Address: clean(client.Address, maxAddress), UserAgent: clean(client.UserAgent, maxUserAgent),
	}
	tokens, err := s.tokens(ctx, user, r.ID, &token)
	if err != nil {
		return Tokens{}, err
	}
	if err := s.db.WithContext(ctx).Create(&r).Error; err != nil {
		return Tokens{}, fmt.Errorf("store the session: %w", err)
	}
	return tokens, nil
}

func (s *Service) tokens(ctx context.Context, user *User, session string, refresh *refreshToken) (Tokens, error) {
	access, err := s.accessToken(ctx, user, session)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		AccessToken: access, RefreshToken: refresh.text(), ExpiresIn: int(s.options.AccessTTL / time.Second), TokenType: "Bearer",
		User: *user, Session: session,
	}, nil
}

// Refresh continues a session: it returns new tokens in exchange for the last refresh token, which is good for nothing from
// then on. It returns ErrSessionEnded if the token continues nothing.
//
// A token that comes a second time ends its session (RFC 9700, section 4.14.2; a *ReuseError): somebody has stolen it, and nobody
// can tell whether the thief came first or second. There is no grace for a client that asks twice at the same moment: whatever
// the second one were given, a thief could have who is quick. Such a client has to ask once, and to sign in again if the answer
// never reached it.
func (s *Service) Refresh(ctx context.Context, refresh, address string) (Tokens, error) {
	old, ok := parseRefreshToken(refresh)
	if !ok {
		return Tokens{}, ErrSessionEnded
	}
	r, err := s.ofFamily(ctx, &old)
	if err != nil {
		return Tokens{}, err
	}
	if subtle.ConstantTimeCompare(r.Hash, old.hash()) != 1 {
		return Tokens{}, s.reused(ctx, r)
	}
	user, err := s.user(ctx, r.UserID)
	switch {
	case errors.Is(err, ErrNoUser), err == nil && user.Stamp != r.Stamp:
		return Tokens{}, ErrSessionEnded
	case err != nil:
		return Tokens{}, fmt.Errorf("look up the user of the session: %w", err)
	}
	next := newRefreshToken(old.family)
	tokens, err := s.tokens(ctx, &user, r.ID, &next) // first, as there is no way back from the exchange
	if err != nil {
		return Tokens{}, err
	}
	if err := s.exchange(ctx, r, &next, address); err != nil {
		return Tokens{}, err
	}
	return tokens, nil
}

// ofFamily returns the session that the token belongs to, or ErrSessionEnded.
func (s *Service) ofFamily(ctx context.Context, t *refreshToken) (*sessionRow, error) {
	r := new(sessionRow)
	err := s.db.WithContext(ctx).Take(r, "family = ?", t.familyHash()).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return nil, ErrSessionEnded
	case err != nil:
		return nil, fmt.Errorf("look up the session: %w", err)
	case !r.alive(s.now()):
		return nil, ErrSessionEnded
	}
	return r, nil
}

// exchange makes next the token of r, if no other request has made that of another one.
func (s *Service) exchange(ctx context.Context, r *sessionRow, next *refreshToken, address string) error {
	now := s.now()
	done := s.db.WithContext(ctx).Model(&sessionRow{}).Where("id = ? AND hash = ? AND ended_at IS NULL", r.ID, r.Hash).
		Updates(map[string]any{
			"hash": next.hash(), "generation": gorm.Expr("generation + 1"), "last_used_at": now,
			"expires_at": now.Add(s.options.RefreshTTL), "address": clean(address, maxAddress),
		})
	if done.Error != nil {
		return fmt.Errorf("store the session: %w", done.Error)
	}
	if done.RowsAffected == 0 {
		return s.reused(ctx, r)
	}
	return nil
}

// reused ends a session whose refresh token came twice. The client, which may be the thief, cannot stop that by leaving.
func (s *Service) reused(ctx context.Context, r *sessionRow) error {
	s.options.Log.Warn("a refresh token came a second time; its session was ended", "session", r.ID, "user", r.UserID)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	if err := s.end(ctx, whyReused, "id = ?", r.ID); err != nil {
		return err
	}
	return &ReuseError{UserID: r.UserID, Session: r.ID}
}
