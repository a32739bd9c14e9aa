package auth

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"
)

// usage collects when API tokens were used, so that no request has to write that. It holds tokens that are valid, and is
// emptied once a minute. It is safe for concurrent use.
type usage struct {
	mu   sync.Mutex
	last map[string]time.Time // by the token's id
}

func newUsage() *usage { return &usage{last: make(map[string]time.Time)} }

func (u *usage) note(token string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at.After(u.last[token]) {
		u.last[token] = at
	}
}

func (u *usage) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.last
	u.last = make(map[string]time.Time)
	return taken
}

// saveUsage writes down when tokens were used. What cannot be written is kept for the next time.
func (s *Service) saveUsage(ctx context.Context) error {
	taken := s.usage.take()
	if len(taken) == 0 {
		return nil
	}
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, id := range slices.Sorted(maps.Keys(taken)) { // in one order, or two replicas could block each other
			at := taken[id]
			err := tx.Model(&row{}).Where("id = ? AND (last_used_at IS NULL OR last_used_at < ?)", id, at).
				Update("last_used_at", at).Error
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return nil
	}
	for id, at := range taken {
		s.usage.note(id, at)
	}
	return fmt.Errorf("write down when tokens were used: %w", err)
}
