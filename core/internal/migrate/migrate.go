// Package migrate brings each module's database to where the module's binary expects it: it compares the ledger with what
// the binary declares, refuses what does not fit, and has the module run what is pending, step by step.
//
// Floor 4. It must not write to a module's database itself (the module does, step and ledger row in one transaction), nor
// decide what becomes of a module whose migration failed (supervisor).
package migrate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// Module is a module whose migrations are to run.
type Module struct {
	Name string
	// IDs are what the binary declares, in order.
	IDs []string
	// Database is the module's own; the zero value means that its manifest does not grant it one.
	Database storage.Database
	// Run has the module execute one step and its ledger row in one transaction, and returns the SQL that ran. Running a
	// step that has been applied changes nothing.
	Run func(ctx context.Context, id string) (statements []string, err error)
}

// Migrator is safe for concurrent use: modules migrate side by side, each at most once at a time.
type Migrator struct {
	storage *storage.Storage
	log     hclog.Logger

	mu    sync.Mutex               // guards turns
	turns map[string]chan struct{} // by module; holds a value while it migrates
}

// New returns a Migrator that reads the ledgers in storage.
func New(storage *storage.Storage, log hclog.Logger) *Migrator {
	return &Migrator{storage: storage, log: log, turns: make(map[string]chan struct{})}
}

// Run applies what is pending, in order, and stops at the first failure: a *StepError. A database that does not fit the
// declaration is refused before anything runs: a *ledger.MissingError, *ledger.OrderError or *ledger.InvalidError. Steps
// that were applied stay applied, and are not run again.
func (g *Migrator) Run(ctx context.Context, m Module) error {
	if m.Database.Driver == "" {
		return withoutDatabase(m)
	}
	release, err := g.turn(ctx, m.Name)
	if err != nil {
		return err
	}
	defer release()
	pending, err := g.pending(ctx, m)
	if err != nil {
		return err
	}
	for _, id := range pending {
		if err := g.step(ctx, m, id); err != nil {
			return err
		}
	}
	return g.confirm(ctx, m, pending)
}

func withoutDatabase(m Module) error {
	if len(m.IDs) == 0 {
		return nil
	}
	return fmt.Errorf("module %s has migrations and no database (fix: add `grants: { database: true }` to its module.yaml)",
		m.Name)
}

// turn waits until nobody else migrates the module.
func (g *Migrator) turn(ctx context.Context, name string) (release func(), err error) {
	g.mu.Lock()
	turn := g.turns[name]
	if turn == nil {
		turn = make(chan struct{}, 1)
		g.turns[name] = turn
	}
	g.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("module %s is being migrated already: %w", name, ctx.Err())
	}
}

func (g *Migrator) pending(ctx context.Context, m Module) ([]string, error) {
	rows, err := g.storage.Ledger(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	declared := make([]ledger.Declared, len(m.IDs))
	for i, id := range m.IDs {
		declared[i] = ledger.Declared{ID: id}
	}
	pending, err := ledger.Plan(rows, declared)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	return ledger.IDsOf(pending), nil
}

func (g *Migrator) step(ctx context.Context, m Module, id string) error {
	start := time.Now()
	statements, err := m.Run(ctx, id)
	ms := time.Since(start).Milliseconds()
	if err != nil {
		g.log.Error("migration failed", "module", m.Name, "id", id, "ms", ms, "error", err)
		return &StepError{Module: m.Name, ID: id, Err: err}
	}
	g.log.Info("migrated", "module", m.Name, "id", id, "ms", ms, "statements", len(statements))
	return nil
}

// confirm looks whether the module did what it said: a step without its row would run again at every start.
func (g *Migrator) confirm(ctx context.Context, m Module, ran []string) error {
	if len(ran) == 0 {
		return nil
	}
	left, err := g.pending(ctx, m)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("module %s reported migration %s as done and has not recorded it "+
			"(fix: build the module's migrations with plugin-api/db)", m.Name, left[0])
	}
	return nil
}
