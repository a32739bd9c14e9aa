package db

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
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
	}
	return &pluginapi.Migrations{IDs: slices.Clone(s.ids), Run: s.run}
}

type set struct {
	steps []Migration
	ids   []string
}

// run implements pluginapi.Migrations.Run.
func (s set) run(ctx context.Context, database pluginapi.Database, step pluginapi.Step) (statements []string, err error) {
	change, err := s.find(step)
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, database, sqlite.Options{ForeignKeysOff: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, Close(db)) }()
	return s.apply(ctx, db, step, change)
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

// apply runs the step and writes its ledger row in one transaction. The transaction holds the file's write lock from its
// first moment, so that what the ledger says stays true until the commit: of several processes that run the same step, one
// does, and the others find it done. They answer with what was recorded then.
func (s set) apply(ctx context.Context, db *gorm.DB, step pluginapi.Step, change func(*gorm.DB) error) ([]string, error) {
	tx, err := begin(ctx, db)
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	applied, err := tx.applied()
	if err != nil {
		return nil, err
	}
	done, err := s.done(applied, step)
	if err != nil {
		return nil, err
	}
	if done {
		return ledger.Statements(tx.own, step.ID)
	}
	return tx.apply(step, change, len(applied)+1)
}

// done reports whether the step has been applied before, or the reason why it must not be now.
func (s set) done(applied []string, step pluginapi.Step) (bool, error) {
	pending, err := ledger.Plan(applied, s.ids)
	if err != nil {
		return false, err
	}
	switch {
	case step.Down && (len(applied) == 0 || applied[len(applied)-1] != step.ID):
		return false, fmt.Errorf("migration %s is not the last one applied (fix: undo the later ones first)", step.ID)
	case step.Down:
		return false, nil
	case slices.Contains(applied, step.ID):
		return true, nil
	case pending[0] != step.ID:
		return false, fmt.Errorf("migration %s comes after %s, which has not been applied (fix: apply that one first)",
			step.ID, pending[0])
	}
	return false, nil
}
