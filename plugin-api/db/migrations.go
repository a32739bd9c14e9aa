package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// Migration is one step of a module's schema, applied once and for ever: never edit one that has been released, add
// another. Declare the structs it uses inside of it, frozen as they were that day: a live model changes and would change
// the past with it.
type Migration struct {
	// ID names the step, such as "0001_posts": letters, digits, '_', '-' and '.', at most 100.
	ID string
	// Up makes the change. It runs in a transaction, with foreign keys unchecked until its end; on an error nothing of it
	// is kept. It must use tx alone, and leave its commit to the platform. Where a step cannot see what it wrote, as in
	// `platformd migrate plan`, it may fail: then the plan says so.
	Up func(tx *gorm.DB) error
	// Down undoes Up, under the same rules; nil = the step cannot be undone.
	Down func(tx *gorm.DB) error
	// NoTransaction runs Up and Down outside of a transaction, for what a database refuses within one, such as PostgreSQL's CREATE
	// INDEX CONCURRENTLY. They must be harmless to run again: a step that was interrupted is run anew.
	NoTransaction bool
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
	found, err := s.find(wanted)
	if err != nil {
		return nil, err
	}
	db, err := backend.Open(ctx, backend.Database(database), backend.Options{Migration: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, Close(db)) }()
	return step.Run(ctx, db, cmp.Or(database.Ledger, ledger.Table), found)
}

func (s set) find(wanted pluginapi.Step) (step.Step, error) {
	for _, m := range s.steps {
		if m.Up == nil {
			return step.Step{}, fmt.Errorf("migration %q has no Up (fix: give it one)", m.ID)
		}
	}
	at := slices.Index(s.ids, wanted.ID)
	if at < 0 {
		return step.Step{}, fmt.Errorf("this module has no migration %q (fix: choose one that it declares)", wanted.ID)
	}
	m := s.steps[at]
	found := step.Step{
		ID: m.ID, Down: wanted.Down, Declared: s.declared, Change: m.Up, NoTransaction: m.NoTransaction, DryRun: wanted.DryRun,
	}
	if wanted.Down {
		found.Change = m.Down
	}
	if found.Change == nil {
		return step.Step{}, fmt.Errorf("migration %s has no Down (fix: restore a backup made before it)", m.ID)
	}
	return found, nil
}
