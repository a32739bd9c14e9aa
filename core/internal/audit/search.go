package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/problem"
)

const (
	// MaxLimit is the most rows that Search returns.
	MaxLimit     = 1000
	defaultLimit = 100
)

// Filter says which rows are wanted: those that match all that is set.
type Filter struct {
	Actor       string    // an actor's id or name
	Via         string    // a module
	Action      string    // an action, or what it begins with: "auth." is every action of auth
	Resource    string    // as it was written
	Outcome     Outcome   // one of the outcomes
	RequestID   string    // as it was written
	From, To    time.Time // From is part of it, To is not
	OldestFirst bool      // else the newest is the first
	AfterSeq    int64     // only rows that come after this one in the order asked for; 0 = all
	Limit       int       // up to MaxLimit; 0 = 100, for Export all
}

// Search returns the rows that match. Those that came after one another have rising numbers, not always rising times: clocks of
// daemons differ. A bad filter is a *problem.Problem.
func (s *Service) Search(ctx context.Context, f Filter) ([]Row, error) {
	if f.Limit < 0 || f.Limit > MaxLimit {
		return nil, problem.Invalid("a search returns 1 to %d rows (fix: choose a smaller limit, and go on after the last row's seq)",
			MaxLimit)
	}
	if f.Limit == 0 {
		f.Limit = defaultLimit
	}
	return s.page(ctx, f)
}

func (s *Service) page(ctx context.Context, f Filter) ([]Row, error) {
	var stored []row
	if err := f.apply(s.db.WithContext(ctx)).Find(&stored).Error; err != nil {
		return nil, fmt.Errorf("search the audit log: %w", err)
	}
	rows := make([]Row, len(stored))
	for i := range stored {
		rows[i] = stored[i].public()
	}
	return rows, nil
}

func (f Filter) apply(db *gorm.DB) *gorm.DB {
	db = db.Limit(f.Limit)
	for column, value := range map[string]string{
		"via": f.Via, "resource": f.Resource, "outcome": string(f.Outcome), "request_id": f.RequestID,
	} {
		if value != "" {
			db = db.Where(column+" = ?", value)
		}
	}
	if f.Actor != "" {
		db = db.Where("(actor_id = ? OR actor_name = ?)", f.Actor, f.Actor)
	}
	if f.Action != "" { // U+10FFFF is never part of an action, and sorts after whatever is
		db = db.Where("action >= ? AND action < ?", f.Action, f.Action+"\U0010ffff")
	}
	if !f.From.IsZero() {
		db = db.Where("at >= ?", f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		db = db.Where("at < ?", f.To.UnixMicro())
	}
	return f.order(db)
}

func (f Filter) order(db *gorm.DB) *gorm.DB {
	if f.OldestFirst {
		return db.Where("seq > ?", f.AfterSeq).Order("seq")
	}
	if f.AfterSeq > 0 {
		db = db.Where("seq < ?", f.AfterSeq)
	}
	return db.Order("seq DESC")
}

// Export writes the rows that match, each as one line of JSON, as they are when it comes to them; 1,000 at a time are in memory.
// A row's details are the very bytes that were hashed.
func (s *Service) Export(ctx context.Context, w io.Writer, f Filter) error {
	if f.Limit < 0 {
		return problem.Invalid("a limit is a positive number (fix: leave it out to export all)")
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	all, left := f.Limit == 0, f.Limit
	for all || left > 0 {
		f.Limit = MaxLimit
		if !all {
			f.Limit = min(left, MaxLimit)
		}
		rows, err := s.page(ctx, f)
		if err != nil || len(rows) == 0 {
			return err
		}
		for i := range rows {
			if err := encoder.Encode(&rows[i]); err != nil {
				return fmt.Errorf("export the audit log: %w", err)
			}
		}
		f.AfterSeq = rows[len(rows)-1].Seq
		left -= len(rows)
	}
	return nil
}

// Tail calls each with every row after from, in order, and with those that come, until ctx ends or each returns an error, which
// it then returns. Rows of this daemon come at once, those of others within a second.
func (s *Service) Tail(ctx context.Context, from int64, each func(Row) error) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		written := s.written.next() // before the query: what comes from here on wakes
		rows, err := s.page(ctx, Filter{OldestFirst: true, AfterSeq: from, Limit: MaxLimit})
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := each(row); err != nil {
				return err
			}
			from = row.Seq
		}
		if len(rows) == MaxLimit {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-written:
		case <-poll.C:
		}
	}
}

// Head is the newest row: Tail after its Seq sees only what comes. Seq is 0 as long as there is none.
func (s *Service) Head(ctx context.Context) (Mark, error) {
	var end head
	if err := s.db.WithContext(ctx).Take(&end, "id = 1").Error; err != nil {
		return Mark{}, fmt.Errorf("read the head of the audit chain: %w", err)
	}
	return Mark{Seq: end.Seq, Hash: hashOf(end.Hash)}, nil
}
