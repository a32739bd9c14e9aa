package embedded

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
)

// peekPage is how many deliveries are read at a time: nobody waits for the database while they are looked at.
const peekPage = 100

// waiting is a delivery that Peek shows.
type waiting struct {
	Sub, Seq         int64
	Name, Attributes string
	Data             []byte
}

// Peek implements bus.Bus.
func (b *Bus) Peek(ctx context.Context, module string, see func(subscription string, e bus.Event) error) error {
	for last := (waiting{}); ; {
		var page []waiting
		err := b.call(ctx, func(ctx context.Context) error {
			return b.db.WithContext(ctx).Raw("SELECT d.sub, d.seq, s.name, e.attributes, e.data FROM bus_subscriptions s "+
				"JOIN bus_deliveries d ON d.sub = s.id JOIN bus_events e ON e.seq = d.seq WHERE s.module = ? AND s.kind = ? "+
				"AND d.state < ? AND (d.sub > ? OR d.sub = ? AND d.seq > ?) ORDER BY d.sub, d.seq LIMIT ?",
				module, wanted, dead, last.Sub, last.Sub, last.Seq, peekPage).Scan(&page).Error
		})
		if err != nil {
			return fmt.Errorf("look at what waits for module %s: %w", module, err)
		}
		if len(page) == 0 {
			return nil
		}
		for _, last = range page {
			e, err := decode(last.Attributes, last.Data)
			if err != nil { // somebody has changed it
				e = bus.Event{Data: last.Data}
			}
			if err := see(last.Name, e); err != nil {
				return err
			}
		}
	}
}

// Forget implements bus.Bus.
func (b *Bus) Forget(ctx context.Context, module string) error {
	err := b.call(ctx, func(ctx context.Context) error {
		return b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if _, err := begin(tx, start{exclusive: true}); err != nil {
				return err
			}
			return forget(tx, module)
		})
	})
	if err != nil {
		return fmt.Errorf("forget what the event bus has of module %s: %w", module, err)
	}
	b.heard(news{all: true})
	return nil
}

// forget removes events with the last delivery of them.
func forget(tx *gorm.DB, module string) error {
	const of = "(SELECT id FROM bus_subscriptions WHERE module = @module)"
	for _, statement := range []string{
		"DELETE FROM bus_events WHERE seq IN (SELECT seq FROM bus_deliveries WHERE sub IN " + of + ") AND NOT EXISTS " +
			"(SELECT 1 FROM bus_deliveries d WHERE d.seq = bus_events.seq AND d.sub NOT IN " + of + ")",
		"DELETE FROM bus_deliveries WHERE sub IN " + of,
		"DELETE FROM bus_subscriptions WHERE module = @module",
	} {
		if err := tx.Exec(statement, map[string]any{"module": module}).Error; err != nil {
			return err
		}
	}
	return nil
}
