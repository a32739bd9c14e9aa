package embedded

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/bus"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// Declare implements bus.Bus.
func (b *Bus) Declare(ctx context.Context, module string, subscriptions []bus.Subscription) error {
	want := map[string]bus.Subscription{}
	for _, s := range subscriptions {
		if err := bus.CheckPattern(s.Pattern); err != nil {
			return fmt.Errorf("module %s subscribes to what nobody can publish: %w", module, err)
		}
		s.Module = module
		want[s.ID()] = s
	}
	err := b.call(ctx, func(ctx context.Context) error {
		if have, err := declared(b.db.WithContext(ctx), module); err != nil || same(have, want) {
			return err
		}
		return b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if _, err := begin(tx, start{exclusive: true}); err != nil {
				return err
			}
			have, err := declared(tx, module) // another daemon may have been faster
			if err != nil {
				return err
			}
			return change(tx, have, want)
		})
	})
	if err != nil {
		return fmt.Errorf("declare the subscriptions of module %s: %w", module, err)
	}
	b.heard(news{all: true})
	return nil
}

func declared(db *gorm.DB, module string) (have map[string]route, err error) {
	var all []route
	err = db.Raw("SELECT id, kind, name, module, pattern, ordered, owner FROM bus_subscriptions WHERE kind = ? AND module = ?",
		wanted, module).Scan(&all).Error
	have = make(map[string]route, len(all))
	for _, r := range all {
		have[r.Name] = r
	}
	return have, err
}

func same(have map[string]route, want map[string]bus.Subscription) bool {
	for name, s := range want {
		if r, ok := have[name]; !ok || r.Ordered != s.Ordered {
			return false
		}
	}
	return len(have) == len(want)
}

// change makes have into want. begin has seen to it that nobody else uses them meanwhile.
func change(tx *gorm.DB, have map[string]route, want map[string]bus.Subscription) error {
	for name, r := range have {
		s, ok := want[name]
		var err error
		switch {
		case !ok:
			err = remove(tx, r.ID)
		case r.Ordered != s.Ordered:
			err = reorder(tx, r.ID, s.Ordered)
		}
		if err != nil {
			return err
		}
	}
	for name, s := range want {
		if _, ok := have[name]; ok {
			continue
		}
		err := tx.Exec("INSERT INTO bus_subscriptions (kind, name, module, pattern, ordered, owner) VALUES (?, ?, ?, ?, ?, 0)",
			wanted, name, s.Module, s.Pattern, number(s.Ordered)).Error
		if err != nil {
			return err
		}
	}
	// Those that are no more stay until their letters have been kept.
	return tx.Exec("DELETE FROM bus_subscriptions WHERE kind = ? AND NOT EXISTS "+
		"(SELECT 1 FROM bus_deliveries d WHERE d.sub = bus_subscriptions.id AND d.state IN (3, 4))", removed).Error
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func remove(tx *gorm.DB, sub int64) error {
	if err := removeDeliveries(tx, sub); err != nil {
		return err
	}
	return tx.Exec("UPDATE bus_subscriptions SET kind = ? WHERE id = ?", removed, sub).Error
}

// reorder puts what is there into an order, or lets it out of it.
func reorder(tx *gorm.DB, sub int64, ordered bool) error {
	err := tx.Exec("UPDATE bus_subscriptions SET ordered = ? WHERE id = ?", number(ordered), sub).Error
	if err != nil {
		return err
	}
	if !ordered {
		return tx.Exec("UPDATE bus_deliveries SET state = 0 WHERE sub = ? AND state = 1", sub).Error
	}
	attributes := "attributes"
	if tx.Name() == backend.PostgreSQL {
		attributes = "CAST(attributes AS json)"
	}
	err = tx.Exec("UPDATE bus_deliveries SET key = COALESCE((SELECT "+attributes+"->>'partitionkey' FROM bus_events e "+
		"WHERE e.seq = bus_deliveries.seq), '') WHERE sub = ?", sub).Error
	if err != nil {
		return err
	}
	return tx.Exec("UPDATE bus_deliveries SET state = 1 WHERE sub = ? AND state = 0 AND key <> '' AND EXISTS (SELECT 1 FROM "+
		"bus_deliveries d WHERE d.sub = bus_deliveries.sub AND d.key = bus_deliveries.key AND d.key <> '' "+
		"AND d.seq < bus_deliveries.seq AND d.state < 3)", sub).Error
}

// count is how many deliveries of a subscription are in a state.
type count struct {
	Sub, Later, N, Oldest int64
	State                 int
}

// Pending implements bus.Bus.
func (b *Bus) Pending(ctx context.Context) (all map[string]bus.Backlog, err error) {
	err = b.call(ctx, func(ctx context.Context) error {
		all, err = pending(b.db.WithContext(ctx))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count what the event bus has: %w", err)
	}
	return all, nil
}

func pending(db *gorm.DB) (map[string]bus.Backlog, error) {
	var subs []route
	if err := db.Raw("SELECT id, name FROM bus_subscriptions WHERE kind = ?", wanted).Scan(&subs).Error; err != nil {
		return nil, err
	}
	now, args := "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", []any{}
	if db.Name() != backend.PostgreSQL {
		now, args = "?", []any{time.Now().UnixMicro()}
	}
	var counts []count
	err := db.Raw("SELECT sub, state, CASE WHEN due > "+now+" THEN 1 ELSE 0 END AS later, COUNT(*) AS n, MIN(seq) AS oldest "+
		"FROM bus_deliveries WHERE state < 3 GROUP BY 1, 2, 3", args...).Scan(&counts).Error
	if err != nil {
		return nil, err
	}
	published, err := publishedAt(db, counts)
	if err != nil {
		return nil, err
	}
	all := make(map[string]bus.Backlog, len(subs))
	for _, s := range subs {
		all[s.Name] = backlog(s.ID, counts, published)
	}
	return all, nil
}

func backlog(sub int64, counts []count, published map[int64]int64) (b bus.Backlog) {
	for _, c := range counts {
		if c.Sub != sub {
			continue
		}
		switch {
		case c.State == held:
			b.InFlight += c.N
		case c.Later == 1:
			b.Waiting += c.N
		default:
			b.Ready += c.N
		}
		if at, ok := published[c.Oldest]; ok {
			b.Oldest = earlier(b.Oldest, time.UnixMicro(at).UTC())
		}
	}
	return b
}

// publishedAt tells when the oldest were published. One that is gone by now has no time.
func publishedAt(db *gorm.DB, counts []count) (map[int64]int64, error) {
	var seqs []int64
	for _, c := range counts {
		seqs = append(seqs, c.Oldest)
	}
	slices.Sort(seqs)
	published := map[int64]int64{}
	for some := range slices.Chunk(slices.Compact(seqs), 100) {
		var found []struct{ Seq, PublishedAt int64 }
		if err := db.Raw("SELECT seq, published_at FROM bus_events WHERE seq IN ?", some).Scan(&found).Error; err != nil {
			return nil, err
		}
		for _, f := range found {
			published[f.Seq] = f.PublishedAt
		}
	}
	return published, nil
}
