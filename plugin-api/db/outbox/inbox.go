package outbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/plugin-api/event"
)

// receipt is an event that has had its effect by one subscription.
type receipt struct {
	Subscription string    `gorm:"primaryKey;size:255"`
	Source       string    `gorm:"primaryKey;size:255"`
	ID           string    `gorm:"primaryKey;size:255"`
	Digest       []byte    `gorm:"not null"`
	At           time.Time `gorm:"not null;index:platformd_inbox_at"`
}

// TableName implements gorm's schema.Tabler.
func (receipt) TableName() string { return Inbox }

// ErrOtherEvent means that an event has the source and the id of another one, which has been handled.
var ErrOtherEvent = errors.New("another event with the same id and source has been handled before " +
	"(fix: correct the publisher: each event needs an id of its own)")

// Enter notes as part of tx that the event is handled by a subscription, and tells whether it is the first time. A transaction
// that does the same meanwhile is waited for. The error is ErrOtherEvent for a different event under the same id.
func Enter(ctx context.Context, tx *gorm.DB, subscription string, e event.Event) (first bool, err error) {
	tx = plain(ctx, tx)
	entered := receipt{Subscription: subscription, Source: e.Source, ID: e.ID, Digest: digest(e), At: tx.NowFunc()}
	result := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&entered)
	if result.Error != nil || result.RowsAffected > 0 {
		return result.Error == nil, result.Error
	}
	var before receipt
	err = tx.Take(&before, "subscription = ? AND source = ? AND id = ?", subscription, e.Source, e.ID).Error
	if err != nil {
		return false, err
	}
	if !bytes.Equal(before.Digest, entered.Digest) {
		return false, ErrOtherEvent
	}
	return false, nil
}

// digest is of what an event says. Time and trace are left out: they may differ where it was published again.
func digest(e event.Event) []byte {
	contentType := e.ContentType
	if contentType == "" {
		contentType = event.JSON
	}
	hash := sha256.New()
	for _, part := range [][]byte{
		[]byte(e.Type), binary.AppendVarint(nil, int64(e.Version)), []byte(e.Subject), []byte(e.Key), []byte(contentType), e.Data,
	} {
		hash.Write(binary.AppendUvarint(nil, uint64(len(part))))
		hash.Write(part)
	}
	return hash.Sum(nil)
}

// Forget removes what the inbox notes from before a time, some of it, and tells how many that were: 0 = there is no more.
func Forget(ctx context.Context, db *gorm.DB, before time.Time) (int64, error) {
	db = plain(ctx, db)
	place := "rowid" // of a row: both databases have one
	if db.Name() == postgreSQL {
		place = "ctid"
	}
	result := db.Exec(fmt.Sprintf("DELETE FROM %[1]s WHERE %[2]s IN (SELECT %[2]s FROM %[1]s WHERE at < ? ORDER BY at LIMIT ?)",
		Inbox, place), before.UTC(), batch)
	if result.Error != nil {
		return 0, fmt.Errorf("remove old entries of the inbox: %w", result.Error)
	}
	return result.RowsAffected, nil
}
