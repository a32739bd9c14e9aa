package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"gorm.io/gorm"
)

// Why a session has ended, beside the reasons that EndUser is given.
const (
	whyLogout = "signed out"
	whyEnded  = "ended by the user or an administrator"
	whyReused = "a refresh token came a second time"
)

// Limits of what is kept of a client, in characters.
const (
	maxAddress   = 64
	maxUserAgent = 200
	maxWhy       = 100
)

// sessionsKept is for how long sessions that are over can still be looked at in the database.
const sessionsKept = 30 * 24 * time.Hour

// Session is a sign-in that goes on. Times are UTC.
type Session struct {
	ID         string    `json:"id"`
	UserID     string    `json:"user_id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"` // the last sign-in or refresh
	ExpiresAt  time.Time `json:"expires_at"`   // if it is not used before
	Address    string    `json:"address"`      // of the last refresh
	UserAgent  string    `json:"user_agent"`   // of the sign-in
}

func (r *sessionRow) alive(now time.Time) bool { return r.EndedAt == nil && now.Before(r.ExpiresAt) }

func (r *sessionRow) session() Session {
	return Session{
		ID: r.ID, UserID: r.UserID, CreatedAt: r.CreatedAt, LastUsedAt: r.LastUsedAt, ExpiresAt: r.ExpiresAt,
		Address: r.Address, UserAgent: r.UserAgent,
	}
}

// living returns the user of an access token whose session goes on, or ErrInvalidToken.
func (s *Service) living(ctx context.Context, c *claims, now time.Time) (*User, error) {
	var r sessionRow
	err := s.db.WithContext(ctx).Take(&r, "id = ?", c.SessionID).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return nil, ErrInvalidToken
	case err != nil:
		return nil, fmt.Errorf("look up the session: %w", err)
	case !r.alive(now) || r.UserID != c.Subject:
		return nil, ErrInvalidToken
	}
	user, err := s.user(ctx, r.UserID)
	switch {
	case errors.Is(err, ErrNoUser), err == nil && user.Stamp != r.Stamp:
		return nil, ErrInvalidToken
	case err != nil:
		return nil, fmt.Errorf("look up the user of the session: %w", err)
	}
	return &user, nil
}

// Sessions returns the sessions of a user that go on, the last used first.
func (s *Service) Sessions(ctx context.Context, userID string) ([]Session, error) {
	var rows []sessionRow
	err := s.db.WithContext(ctx).Where("user_id = ? AND ended_at IS NULL AND expires_at > ?", userID, s.now()).
		Order("last_used_at DESC, id").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	sessions := make([]Session, len(rows))
	for i := range rows {
		sessions[i] = rows[i].session()
	}
	return sessions, nil
}

// Logout ends a session, the id of which is that of an Identity. Its access tokens are refused at once on this replica, on
// others within 30 s. One that has ended, or never was, changes nothing.
func (s *Service) Logout(ctx context.Context, id string) error {
	return s.end(ctx, whyLogout, "id = ?", id)
}

// EndSession is Logout for a session of the user which another one may be looking at; ErrNoSession if the user has no such
// session that goes on.
func (s *Service) EndSession(ctx context.Context, userID, id string) error {
	sessions, err := s.Sessions(ctx, userID)
	if err != nil {
		return err
	}
	for i := range sessions {
		if sessions[i].ID == id {
			return s.end(ctx, whyEnded, "id = ?", id)
		}
	}
	return ErrNoSession
}

// EndUser ends all sessions of a user, and has their API tokens looked up anew. It is called after the user was disabled or
// deleted, or has got another password; why is kept, such as "disabled".
func (s *Service) EndUser(ctx context.Context, userID, why string) error {
	return s.end(ctx, why, "user_id = ?", userID)
}

// end ends the sessions that go on and of which where is true of its one argument, a session's id or a user's.
func (s *Service) end(ctx context.Context, why, where, id string) error {
	err := s.db.WithContext(ctx).Model(&sessionRow{}).Where(where, id).Where("ended_at IS NULL").
		Updates(map[string]any{"ended_at": s.now(), "ended_why": clean(why, maxWhy)}).Error
	s.cache.forget(func(i *Identity) bool { // even after an error: the change may have been made
		return i.Session == id || i.Principal.ID == id
	})
	if err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	return nil
}

// sweepSessions deletes sessions that have been over for long.
func (s *Service) sweepSessions(ctx context.Context) error {
	before := s.now().Add(-sessionsKept)
	err := s.db.WithContext(ctx).Where("expires_at < ? OR ended_at < ?", before, before).Delete(&sessionRow{}).Error
	if err != nil {
		return fmt.Errorf("delete old sessions: %w", err)
	}
	return nil
}

// clean makes text that a client sent fit to be shown in a list: at most limit characters, all of them printable.
func clean(text string, limit int) string {
	var kept strings.Builder
	for _, r := range text {
		if limit == 0 {
			break
		}
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			kept.WriteRune(r)
			limit--
		}
	}
	return kept.String()
}
