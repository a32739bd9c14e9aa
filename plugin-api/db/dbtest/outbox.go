package dbtest

import (
	"context"
	"errors"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// relayed is how many events of an outbox are read at a time.
const relayed = 100

// outboxOf does what the core does: owner makes the tables, and work, with the rights of the module, reads them.
func outboxOf(owner, work pluginapi.Database) *plugintest.Outbox {
	return &plugintest.Outbox{
		Create: func(ctx context.Context) error {
			return use(ctx, owner, func(db *gorm.DB) error { return outbox.Create(ctx, db) })
		},
		Relay: func(ctx context.Context, publish func(pluginapi.Event)) error {
			return use(ctx, work, func(db *gorm.DB) error { return relay(ctx, db, publish) })
		},
	}
}

func use(ctx context.Context, database pluginapi.Database, work func(*gorm.DB) error) (err error) {
	db, err := backend.Open(ctx, backend.Database(database), backend.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close(db)) }()
	return work(db)
}

func relay(ctx context.Context, db *gorm.DB, publish func(pluginapi.Event)) error {
	for {
		rows, err := outbox.Next(ctx, db, relayed)
		if err != nil || len(rows) == 0 {
			return err
		}
		seqs := make([]int64, len(rows))
		for i, row := range rows {
			publish(row.Event)
			seqs[i] = row.Seq
		}
		if err := outbox.Remove(ctx, db, seqs); err != nil {
			return err
		}
	}
}
