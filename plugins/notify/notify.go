package main

import (
	"context"
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

// notify is the module's state. What start sets does not change afterwards, so that handlers may run concurrently.
type notify struct{ db *gorm.DB }

func newNotify() *notify { return &notify{} }

// module lists what module.yaml declares; the core compares the two at every start.
func (n *notify) module() pluginapi.Module {
	return pluginapi.Module{
		Routes:     map[string]pluginapi.Handler{"feed": n.feed},
		Events:     map[string]pluginapi.EventHandler{"blog.*": n.remember, "billing.*": n.remember},
		Migrations: migrations(),
		Init:       n.start,
		Stop:       n.stop,
		Health:     func(ctx context.Context) error { return db.Health(ctx, n.db) },
	}
}

func (n *notify) start(ctx context.Context, core *pluginapi.Core) (err error) {
	n.db, err = db.Open(ctx, core)
	return err
}

func (n *notify) stop(context.Context) error { return db.Close(n.db) }

func migrations() *pluginapi.Migrations {
	return db.Migrations(db.Migration{ID: "0001_items", Up: createItems, Down: dropItems})
}

func createItems(tx *gorm.DB) error {
	type Item struct {
		Seq     int64     `gorm:"primaryKey;autoIncrement"`
		ID      string    `gorm:"size:255;not null"`
		Type    string    `gorm:"size:255;not null;index"`
		Source  string    `gorm:"size:255;not null"`
		Subject string    `gorm:"size:255;not null"`
		Time    time.Time `gorm:"not null"`
	}
	return tx.Migrator().CreateTable(&Item{})
}

func dropItems(tx *gorm.DB) error {
	type Item struct{ Seq int64 }
	return tx.Migrator().DropTable(&Item{})
}
