// Command courier is a module that publishes what it is told to, and keeps what the events did that it heard of. What an event's
// data says under "do" is what goes wrong. The end-to-end suites install it, also several times under different names.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

func main() {
	c := &courier{}
	pluginapi.Serve(pluginapi.Module{
		Routes: map[string]pluginapi.Handler{"publish": c.publish, "effects": c.effects, "tally": c.tally},
		Events: map[string]pluginapi.EventHandler{"courier.thing.*": c.handle, "courier.step.*": c.handle},
		Migrations: db.Migrations(db.Migration{ID: "0001_effects", Up: func(tx *gorm.DB) error {
			return tx.Migrator().CreateTable(&effect{})
		}}),
		Init: func(ctx context.Context, core *pluginapi.Core) (err error) {
			c.core = core
			c.db, err = db.Open(ctx, core)
			return err
		},
		Stop: func(context.Context) error { return db.Close(c.db) },
	})
}

type courier struct {
	core *pluginapi.Core
	db   *gorm.DB

	mu     sync.Mutex
	failed map[string]bool // ids of events that were failed once, as they wanted
}

// effect is what one event did, in the order in which events did something.
type effect struct {
	Seq int64  `json:"-" gorm:"primaryKey;autoIncrement"`
	ID  string `json:"id" gorm:"not null"` // of the event; not unique: the suites look for doubles
	Key string `json:"key"`
	N   int    `json:"n"`
}

// TableName implements gorm's schema.Tabler: the module has several names.
func (effect) TableName() string { return "effects" }

// thing is an event's data.
type thing struct {
	N  int    `json:"n"`
	Do string `json:"do,omitempty"`
}

func (c *courier) handle(ctx context.Context, e pluginapi.Event) error {
	var t thing
	if err := json.Unmarshal(e.Data, &t); err != nil {
		return pluginapi.Drop(err)
	}
	switch t.Do {
	case "fail":
		return errors.New("as the event wants")
	case "panic":
		panic("as the event wants")
	case "drop":
		return pluginapi.Drop(errors.New("it makes no sense"))
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	case "crash":
		os.Exit(3)
	case "flaky":
		if c.firstTime(e.ID) {
			return errors.New("not at first")
		}
	}
	return db.Once(ctx, c.db, e, func(tx *gorm.DB) error {
		return tx.Create(&effect{ID: e.ID, Key: e.Key, N: t.N}).Error
	})
}

func (c *courier) firstTime(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[string]bool{}
	}
	before := c.failed[id]
	c.failed[id] = true
	return !before
}

// order says what to publish: Count events, with N counting up.
type order struct {
	Type    string
	Version int
	Key     string
	N       int
	Count   int
	Do      string
	ID      string
	Outbox  bool
	Fail    bool // the transaction with the outbox
}

// publish answers the ids of the events that it published.
func (c *courier) publish(w http.ResponseWriter, r *http.Request) error {
	var o order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		return err
	}
	var events []pluginapi.Event
	for i := range max(o.Count, 1) {
		data, err := json.Marshal(thing{N: o.N + i, Do: o.Do})
		if err != nil {
			return err
		}
		id := o.ID
		if id == "" {
			id = fmt.Sprintf("%s-%s-%d", o.Type, o.Key, o.N+i)
		}
		events = append(events, pluginapi.Event{
			ID: id, Type: o.Type, Version: max(o.Version, 1), Subject: "things", Key: o.Key, Data: data,
		})
	}
	if err := c.send(r.Context(), o, events); err != nil {
		return err
	}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return pluginapi.WriteJSON(w, http.StatusOK, map[string]any{"ids": ids})
}

func (c *courier) send(ctx context.Context, o order, events []pluginapi.Event) error {
	if !o.Outbox {
		return c.core.Events.PublishAll(ctx, events...)
	}
	return c.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, e := range events {
			if err := db.Publish(tx, e); err != nil {
				return err
			}
		}
		if o.Fail {
			return errors.New("the transaction fails, as asked")
		}
		return nil
	})
}

func (c *courier) effects(w http.ResponseWriter, r *http.Request) error {
	all := []effect{}
	if err := c.db.WithContext(r.Context()).Order("seq").Find(&all).Error; err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, all)
}

// tally answers how many effects there are, of how many events, and how often one came before another of its key with a smaller N.
func (c *courier) tally(w http.ResponseWriter, r *http.Request) error {
	var t struct{ Count, Distinct, Inversions int }
	err := c.db.WithContext(r.Context()).Raw(`SELECT count(*) AS count, count(DISTINCT id) AS "distinct", coalesce(sum(CASE WHEN n < before
THEN 1 ELSE 0 END), 0) AS inversions FROM (SELECT id, n, lag(n) OVER (PARTITION BY key ORDER BY seq) AS before FROM effects) AS e`).
		Scan(&t).Error
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, t)
}
