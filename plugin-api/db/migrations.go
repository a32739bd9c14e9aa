package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// Migration is one step of a module's schema, applied once and for ever: never edit one that has been released, add
// another. Declare the structs it uses inside of it, frozen as they were that day: a live model changes and would change
// the past with it.
type Migration struct {
	// ID names the step, such as "0001_posts": letters, digits, '_', '-' and '.', at most 100.
	ID string
	// Up makes the change. It runs in a transaction, with foreign keys unchecked until its end; on an error nothing of it
	// is kept. It must use tx alone, and leave its commit to the platform.
	Up func(tx *gorm.DB) error
	// Down undoes Up, under the same rules; nil = the step cannot be undone.
	Down func(tx *gorm.DB) error
}

// Migrations makes the steps of a module, in the order they must run. A mistake in them (two with one ID, one without Up)
// is reported when the module starts, before anything runs.
func Migrations(steps ...Migration) *pluginapi.Migrations {
	s := set{steps: slices.Clone(steps)}
	for _, step := range steps {
		s.ids = append(s.ids, step.ID)
		s.declared = append(s.declared, ledger.Declared{ID: step.ID})
	}
	return &pluginapi.Migrations{IDs: slices.Clone(s.ids), Run: s.run}
}

type set struct {
	steps    []Migration
	ids      []string
	declared []ledger.Declared
}

// run implements pluginapi.Migrations.Run.
func (s set) run(ctx context.Context, database pluginapi.Database, wanted pluginapi.Step) (statements []string, err error) {
	change, err := s.find(wanted)
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, database, sqlite.Options{ForeignKeysOff: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, Close(db)) }()
	table := cmp.Or(database.Ledger, ledger.Table)
	return step.Run(ctx, db, table, step.Step{ID: wanted.ID, Down: wanted.Down, Declared: s.declared, Change: change})
}

func (s set) find(step pluginapi.Step) (change func(*gorm.DB) error, err error) {
	for _, m := range s.steps {
		if m.Up == nil {
			return nil, fmt.Errorf("migration %q has no Up (fix: give it one)", m.ID)
		}
	}
	at := slices.Index(s.ids, step.ID)
	switch {
	case at < 0:
		return nil, fmt.Errorf("this module has no migration %q (fix: choose one that it declares)", step.ID)
	case step.Down && s.steps[at].Down == nil:
		return nil, fmt.Errorf("migration %s has no Down (fix: restore a backup made before it)", step.ID)
	case step.Down:
		return s.steps[at].Down, nil
	}
	return s.steps[at].Up, nil
}
