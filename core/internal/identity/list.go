package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/platformd/platformd/core/internal/canonical"
	"github.com/platformd/platformd/plugin-api/problem"
)

// Limits of what is asked for at a time.
const (
	MaxBatch     = 100
	MaxPage      = 500
	defaultLimit = 100
)

// Page says which users List returns.
type Page struct {
	After string // where the page before ended: its Next; empty: from the beginning
	Limit int    // 1 to MaxPage; 0 = 100
	Query string // what address or name begin with, in any case; empty: everybody
}

// Listing is one page of users.
type Listing struct {
	Users []User `json:"users"`          // not nil
	Next  string `json:"next,omitempty"` // Page.After of the next page; empty: this is the last
}

// List returns users in the order in which they were made. Whoever is made or deleted while somebody turns the pages makes no
// other user appear twice or not at all.
func (s *Service) List(ctx context.Context, p Page) (Listing, error) {
	if err := p.check(); err != nil {
		return Listing{}, err
	}
	limit := p.Limit
	if limit == 0 {
		limit = defaultLimit
	}
	query := s.db.WithContext(ctx).Order("id").Limit(limit + 1) // one more tells whether there is a next page
	if p.After != "" {
		query = query.Where("id > ?", p.After)
	}
	if p.Query != "" {
		prefix := literal(lower(strings.TrimSpace(p.Query))) + "%"
		query = query.Where("(email LIKE ? ESCAPE '!' OR name_key LIKE ? ESCAPE '!')", prefix, prefix)
	}
	var rows []row
	if err := query.Find(&rows).Error; err != nil {
		return Listing{}, fmt.Errorf("list users: %w", err)
	}
	listing := Listing{Users: users(rows[:min(limit, len(rows))])}
	if len(rows) > limit {
		listing.Next = rows[limit-1].ID
	}
	return listing, nil
}

func (p Page) check() error {
	switch {
	case p.Limit < 0 || p.Limit > MaxPage:
		return problem.Invalid("a page has 1 to %d users (fix: choose another limit)", MaxPage)
	case p.After != "" && !validID(p.After):
		return problem.Invalid("%.40q is not the end of a page (fix: use what the page before says is next)", p.After)
	case utf8.RuneCountInString(p.Query) > maxName || !canonical.Printable(p.Query):
		return problem.Invalid("what to search for has at most %d printable characters (fix: shorten it)", maxName)
	}
	return nil
}

// literal is what LIKE matches with s alone.
func literal(s string) string { return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s) }

// BatchGet returns the users with the given ids, at most MaxBatch, in the order of the ids. Those who are not there are left
// out; one who is asked for twice comes once.
func (s *Service) BatchGet(ctx context.Context, ids []string) ([]User, error) {
	if len(ids) > MaxBatch {
		return nil, problem.Invalid("%d users are too many at a time (fix: ask for at most %d)", len(ids), MaxBatch)
	}
	valid := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !validID(id) })
	if len(valid) == 0 {
		return []User{}, nil
	}
	var rows []row
	if err := s.db.WithContext(ctx).Where("id IN ?", valid).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("look up users: %w", err)
	}
	place := make(map[string]int, len(valid))
	for i, id := range slices.Backward(valid) {
		place[id] = i // the first place of each counts
	}
	slices.SortFunc(rows, func(a, b row) int { return place[a.ID] - place[b.ID] })
	return users(rows), nil
}

func users(rows []row) []User {
	list := make([]User, len(rows))
	for i := range rows {
		list[i] = rows[i].user()
	}
	return list
}
