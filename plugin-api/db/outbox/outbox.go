// Package outbox is the two tables for events in a module's database. What the module publishes waits in the outbox until the
// core has relayed it, and is put there in the transaction of the change that it tells of. What the module has handled is noted
// in the inbox, in the transaction of its effect, so that it has that effect once. Package db writes them in the module, the core
// reads the outbox.
//
// It must not open a database, nor know how events travel.
package outbox

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/event"
)

// The tables. No module's own can have such a name: theirs begin with the module's, and none may be called platformd.
const (
	Table = "platformd_outbox"
	Inbox = "platformd_inbox"
)

// row is an event that waits. It names no source: that is whose the database is.
type row struct {
	// Seq is in the order of publishing among the events of one key. SQLite must not use a number twice (AUTOINCREMENT, by GORM's
	// hand): a relay that was slow would remove another event than it read.
	Seq         int64     `gorm:"primaryKey;autoIncrement"`
	ID          string    `gorm:"size:255;not null"`
	Type        string    `gorm:"size:255;not null"`
	Version     int       `gorm:"not null"`
	Subject     string    `gorm:"size:255;not null"`
	Key         string    `gorm:"size:255;not null"`
	Time        time.Time `gorm:"not null"`
	ContentType string    `gorm:"size:255;not null"`
	Data        []byte    `gorm:"not null"`
	TraceParent string    `gorm:"size:255;not null"`
}

// TableName implements gorm's schema.Tabler.
func (row) TableName() string { return Table }

// Create makes the tables that are missing, in the schema or file that db is of. Several may do it at once. On PostgreSQL that
// needs the rights of a migration, unless they are there; the module at work gets its own on them by default.
func Create(ctx context.Context, db *gorm.DB) error {
	db = plain(ctx, db)
	if ready(db) {
		return nil
	}
	err := db.Transaction(func(tx *gorm.DB) error {
		for _, table := range []any{&row{}, &receipt{}} {
			if tx.Migrator().HasTable(table) {
				continue
			}
			if err := tx.Migrator().CreateTable(table); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !ready(db) { // unless somebody else has just made them
		return fmt.Errorf("make the tables for events: %w (fix: have platformd start the module, which makes them before)", err)
	}
	return nil
}

// Ready tells whether the tables are there.
func Ready(ctx context.Context, db *gorm.DB) bool { return ready(plain(ctx, db)) }

func ready(db *gorm.DB) bool {
	return db.Migrator().HasTable(&row{}) && db.Migrator().HasTable(&receipt{})
}

// plain is db without what its owner may have asked of it.
func plain(ctx context.Context, db *gorm.DB) *gorm.DB {
	return db.Session(&gorm.Session{NewDB: true, Context: ctx, SkipHooks: true})
}

// postgreSQL is what GORM calls that dialect.
const postgreSQL = "postgres"

// Add puts an event that is valid into the outbox, as part of tx.
func Add(ctx context.Context, tx *gorm.DB, e event.Event) error {
	tx = plain(ctx, tx)
	if e.Key != "" && tx.Name() == postgreSQL {
		// A number is given when the row is written, and the row is seen when the transaction commits. Without the lock, of two
		// transactions the one with the greater number could commit first, and be relayed before the other is seen. So whoever is
		// second for a key waits for its number until the first has committed. On SQLite there is one transaction at a time anyway.
		// The schema's name keeps modules that use the same key from waiting for each other.
		lock := tx.Exec("SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '/' || ?, 0))", e.Key)
		if lock.Error != nil {
			return lock.Error
		}
	}
	data := e.Data
	if data == nil {
		data = []byte{}
	}
	return tx.Create(&row{
		ID: e.ID, Type: e.Type, Version: e.Version, Subject: e.Subject, Key: e.Key, Time: e.Time, ContentType: e.ContentType,
		Data: data, TraceParent: e.TraceParent,
	}).Error
}

// Row is an event that waits. Its Source is empty: whoever relays it knows whose outbox it is.
type Row struct {
	Seq   int64
	Event event.Event
}

// read takes no more of a column than one character too many: what is in the table is the module's to say, and the core must hold
// it.
var read = fmt.Sprintf(`SELECT seq, substr(id, 1, %[1]d) AS id, substr(type, 1, %[1]d) AS type, version,
substr(subject, 1, %[1]d) AS subject, substr(key, 1, %[1]d) AS key, time, substr(content_type, 1, %[1]d) AS content_type,
substr(data, 1, %[2]d) AS data, substr(trace_parent, 1, %[1]d) AS trace_parent
FROM %[3]s ORDER BY seq LIMIT ?`, event.MaxText+1, event.MaxData+1, Table)

// Next returns the events that wait longest, at most so many, in their order. One relay at a time must read a module's outbox, or
// events of one key may be published out of their order. What it returns has not been checked.
func Next(ctx context.Context, db *gorm.DB, most int) ([]Row, error) {
	var found []row
	if err := plain(ctx, db).Raw(read, most).Scan(&found).Error; err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	rows := make([]Row, len(found))
	for i, r := range found {
		rows[i] = Row{Seq: r.Seq, Event: event.Event{
			ID: r.ID, Type: r.Type, Version: r.Version, Subject: r.Subject, Key: r.Key, Time: r.Time.UTC(), ContentType: r.ContentType,
			Data: r.Data, TraceParent: r.TraceParent,
		}}
	}
	return rows, nil
}

// batch is how many rows one statement removes: databases bound the number of its parameters.
const batch = 500

// Remove takes events out of the outbox that are published. Those that are gone already are no error.
func Remove(ctx context.Context, db *gorm.DB, seqs []int64) error {
	for len(seqs) > 0 {
		some := seqs[:min(batch, len(seqs))]
		if err := plain(ctx, db).Delete(&row{}, "seq IN ?", some).Error; err != nil {
			return fmt.Errorf("remove what is published from the outbox: %w", err)
		}
		seqs = seqs[len(some):]
	}
	return nil
}

// Backlog is what waits in an outbox.
type Backlog struct {
	Rows int64
	// Oldest is when the first of them happened; zero if there is none.
	Oldest time.Time
}

// Pending tells what waits.
func Pending(ctx context.Context, db *gorm.DB) (b Backlog, err error) {
	db = plain(ctx, db)
	if err = db.Model(&row{}).Count(&b.Rows).Error; err == nil && b.Rows > 0 {
		var oldest []row
		if err = db.Select("time").Order("seq").Limit(1).Find(&oldest).Error; err == nil && len(oldest) > 0 {
			b.Oldest = oldest[0].Time.UTC()
		}
	}
	if err != nil {
		return Backlog{}, fmt.Errorf("look into the outbox: %w", err)
	}
	return b, nil
}
