// Package deadletter keeps the deliveries that came to nothing, in the core's database, so that an operator can look at them,
// have them delivered again, or throw them away, on whichever bus they died.
//
// Floor 2, in the room bus. It must not decide what dies.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/event"
)

const (
	// wait bounds every call.
	wait = 10 * time.Second
	// MaxPage is how many letters List returns at most.
	MaxPage = 500
)

// ErrNotFound means that there is no such letter.
var ErrNotFound = errors.New("there is no such dead letter (fix: see `platformd dlq ls`)")

// UndeliveredError says which letters could not be delivered again: the first for each reason.
type UndeliveredError struct{ Reasons []Undelivered }

// Undelivered is why letters could not be delivered again.
type Undelivered struct {
	ID      string // of the first
	Letters int    // how many
	Err     error
}

func (e *UndeliveredError) add(id string, err error) {
	for i := range e.Reasons {
		if r := &e.Reasons[i]; r.Err.Error() == err.Error() {
			r.Letters++
			return
		}
	}
	e.Reasons = append(e.Reasons, Undelivered{ID: id, Letters: 1, Err: err})
}

// Letters is how many there are, for whatever reason.
func (e *UndeliveredError) Letters() (n int) {
	for _, r := range e.Reasons {
		n += r.Letters
	}
	return n
}

// Error implements error.
func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("%d dead letters were not delivered again; the first, %s: %v", e.Letters(), e.Reasons[0].ID, e.Reasons[0].Err)
}

// Unwrap serves errors.Is and errors.As.
func (e *UndeliveredError) Unwrap() []error {
	var errs []error
	for _, r := range e.Reasons {
		errs = append(errs, r.Err)
	}
	return errs
}

// Filter says which letters are meant. The zero value means all.
type Filter struct {
	IDs          []string
	Subscription string // the ID of a bus.Subscription
	Module       string // whose subscriptions
	Type         string // of the event
	Reason       string
	// Owner is a module of whose subscriptions they are, or out of whose outbox they were refused.
	Owner string
}

// Store is safe for concurrent use, also by several daemons.
type Store struct{ db *gorm.DB }

// New returns the store over the core's database, whose table it makes or brings up to date.
func New(ctx context.Context, db *gorm.DB) (*Store, error) {
	if err := storage.MigrateCore(db.WithContext(ctx), "deadletter", steps()...); err != nil {
		return nil, err
	}
	return &Store{db}, nil
}

// Keep adds a letter. One that is there already stays as it is.
func (s *Store) Keep(ctx context.Context, l bus.DeadLetter) error {
	return s.do(ctx, "keep", func(db *gorm.DB) error {
		row := rowOf(l)
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error
	})
}

// List returns letters, those that died last first, at most limit and MaxPage of them, without those up to the one named after;
// "" begins at the first.
func (s *Store) List(ctx context.Context, f Filter, limit int, after string) (letters []bus.DeadLetter, err error) {
	err = s.do(ctx, "list", func(db *gorm.DB) error {
		query := f.in(db)
		if after != "" {
			last, err := find(db, after)
			if err != nil {
				return err
			}
			query = query.Where("died_at < ? OR died_at = ? AND id < ?", last.DiedAt, last.DiedAt, last.ID)
		}
		var rows []row
		if err := query.Order("died_at DESC, id DESC").Limit(min(max(limit, 1), MaxPage)).Find(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			letters = append(letters, r.letter())
		}
		return nil
	})
	return letters, err
}

// Get returns one letter, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (letter bus.DeadLetter, err error) {
	err = s.do(ctx, "get", func(db *gorm.DB) error {
		found, err := find(db, id)
		letter = found.letter()
		return err
	})
	return letter, err
}

// Count returns how many there are.
func (s *Store) Count(ctx context.Context, f Filter) (count int64, err error) {
	err = s.do(ctx, "count", func(db *gorm.DB) error { return f.in(db.Model(&row{})).Count(&count).Error })
	return count, err
}

// Purge throws letters away and returns how many.
func (s *Store) Purge(ctx context.Context, f Filter) (count int64, err error) {
	err = s.do(ctx, "purge", func(db *gorm.DB) error {
		deleted := f.in(db.Session(&gorm.Session{AllowGlobalUpdate: true})).Delete(&row{})
		count = deleted.RowsAffected
		return deleted.Error
	})
	return count, err
}

// Redeliver puts an event into one subscription, as bus.Bus does.
type Redeliver func(ctx context.Context, subscription string, e bus.Event) error

// Retry has letters delivered again, oldest first, each to the subscription in which it died, and forgets each as soon as the
// bus has it: one that it forgets too late, because the daemon is killed in between, is delivered twice. It returns how many. A
// letter that cannot be delivered stays, and the next is tried; an *UndeliveredError tells of them at the end, or at once when
// the bus takes none at all.
func (s *Store) Retry(ctx context.Context, f Filter, redeliver Redeliver) (done int, err error) {
	began, undelivered := s.db.NowFunc(), &UndeliveredError{}
	var last bus.DeadLetter
	for {
		letters, err := s.oldest(ctx, f, began, last)
		switch {
		case err != nil:
			return done, err
		case len(letters) == 0 && len(undelivered.Reasons) > 0:
			return done, undelivered
		case len(letters) == 0:
			return done, nil
		}
		for _, last = range letters {
			if err := redeliver(ctx, last.Subscription, last.Event); err != nil {
				if undelivered.add(last.ID, err); ctx.Err() != nil || away(err) {
					return done, undelivered
				}
				continue
			}
			if _, err := s.Purge(ctx, Filter{IDs: []string{last.ID}}); err != nil {
				return done, err
			}
			done++
		}
	}
}

// away tells whether the bus would not take any other event either.
func away(err error) bool {
	return errors.Is(err, bus.ErrUnavailable) || errors.Is(err, bus.ErrClosed) || errors.Is(err, bus.ErrRefused)
}

// page is how many letters Retry takes at a time.
const page = 100

// oldest returns the letters that Retry is to go on with after another. One that dies again meanwhile is not taken: Retry would
// never end.
func (s *Store) oldest(
	ctx context.Context, f Filter, until time.Time, after bus.DeadLetter,
) (letters []bus.DeadLetter, err error) {
	err = s.do(ctx, "list", func(db *gorm.DB) error {
		query := f.in(db).Where("died_at <= ?", until.UTC())
		if after.ID != "" {
			query = query.Where("died_at > ? OR died_at = ? AND id > ?", after.At, after.At, after.ID)
		}
		var rows []row
		if err := query.Order("died_at, id").Limit(page).Find(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			letters = append(letters, r.letter())
		}
		return nil
	})
	return letters, err
}

func (s *Store) do(ctx context.Context, what string, work func(db *gorm.DB) error) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := work(s.db.WithContext(ctx)); err != nil {
		return fmt.Errorf("%s dead letters: %w", what, err)
	}
	return nil
}

func (f Filter) in(db *gorm.DB) *gorm.DB {
	if f.IDs != nil {
		db = db.Where("id IN ?", f.IDs)
	}
	for column, value := range map[string]string{
		"subscription": f.Subscription, "module": f.Module, "type": f.Type, "reason": f.Reason,
	} {
		if value != "" {
			db = db.Where(column+" = ?", value)
		}
	}
	if f.Owner != "" {
		db = db.Where("module = ? OR module = '' AND source = ?", f.Owner, event.SourceOf(f.Owner))
	}
	return db
}

func find(db *gorm.DB, id string) (found row, err error) {
	err = db.Where("id = ?", id).Take(&found).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = fmt.Errorf("%.80q: %w", id, ErrNotFound)
	}
	return found, err
}

// row is a bus.DeadLetter as it is stored.
type row struct {
	ID           string `gorm:"primaryKey"`
	Subscription string
	Module       string // of the subscription
	Reason       string
	Error        string
	Attempts     int
	DiedAt       time.Time
	EventID      string
	Source       string
	Type         string
	Version      int
	Subject      string
	PartitionKey string
	OccurredAt   time.Time
	ContentType  string
	Data         []byte
	TraceParent  string
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return "event_dead_letters" }

func rowOf(l bus.DeadLetter) row {
	module, _, _ := strings.Cut(l.Subscription, ":")
	e := l.Event
	return row{
		ID: text(l.ID), Subscription: text(l.Subscription), Module: text(module), Reason: text(l.Failure.Reason),
		Error: text(l.Failure.Error), Attempts: l.Attempts, DiedAt: l.At.UTC(), EventID: text(e.ID), Source: text(e.Source),
		Type: text(e.Type), Version: e.Version, Subject: text(e.Subject), PartitionKey: text(e.Key), OccurredAt: e.Time.UTC(),
		ContentType: text(e.ContentType), Data: e.Data, TraceParent: text(e.TraceParent),
	}
}

// text is what PostgreSQL takes: a letter may be about what is no event at all, and must be kept nevertheless.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func (r *row) letter() bus.DeadLetter {
	return bus.DeadLetter{
		ID: r.ID, Subscription: r.Subscription, Failure: bus.Failure{Reason: r.Reason, Error: r.Error}, Attempts: r.Attempts,
		At: r.DiedAt.UTC(), Event: bus.Event{
			ID: r.EventID, Source: r.Source, Type: r.Type, Version: r.Version, Subject: r.Subject, Key: r.PartitionKey,
			Time: r.OccurredAt.UTC(), ContentType: r.ContentType, Data: r.Data, TraceParent: r.TraceParent,
		},
	}
}

func steps() []storage.CoreStep {
	return []storage.CoreStep{{ID: "0001_dead_letters", Up: func(tx *gorm.DB) error {
		type deadLetter struct {
			ID           string    `gorm:"type:text;primaryKey"`
			Subscription string    `gorm:"type:text;not null;index:idx_event_dead_letters_subscription"`
			Module       string    `gorm:"type:text;not null"`
			Reason       string    `gorm:"type:text;not null"`
			Error        string    `gorm:"type:text;not null"`
			Attempts     int       `gorm:"not null"`
			DiedAt       time.Time `gorm:"not null;index:idx_event_dead_letters_died_at"`
			EventID      string    `gorm:"type:text;not null"`
			Source       string    `gorm:"type:text;not null"`
			Type         string    `gorm:"type:text;not null"`
			Version      int       `gorm:"not null"`
			Subject      string    `gorm:"type:text;not null"`
			PartitionKey string    `gorm:"type:text;not null"`
			OccurredAt   time.Time `gorm:"not null"`
			ContentType  string    `gorm:"type:text;not null"`
			Data         []byte
			TraceParent  string `gorm:"type:text;not null"`
		}
		return tx.Table("event_dead_letters").Migrator().CreateTable(&deadLetter{})
	}}}
}
