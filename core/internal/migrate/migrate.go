// Package migrate brings each module's database to where the module expects it: it compares the ledger with what the module
// declares, refuses what does not fit, and has what is pending run, step by step, by one process of one daemon at a time.
//
// Floor 4. It must not run a step itself (the module does, or a process in its place, together with its ledger row in one
// transaction), nor decide what becomes of a module whose migration failed (supervisor).
package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// Step is one migration in one direction, as a module is asked to run it.
type Step struct {
	ID     string
	Down   bool
	DryRun bool // say what would run, and run nothing
}

// Module is a module with migrations.
type Module struct {
	Name string
	// Declared are its migrations, in order.
	Declared []ledger.Declared
	// Beyond are the ids of steps that a later version has declared, and may have applied before it failed: that the ledger goes on
	// with them is no reason not to start this version again.
	Beyond []string
	// Run runs one step and its ledger row in one transaction, with the access that database gives, and returns the SQL that ran.
	// Running a step that has been applied changes nothing.
	Run func(ctx context.Context, database storage.Database, step Step) (statements []string, err error)
	// Statements returns what a declared step is made of, where that is known without running it; nil: of none.
	Statements func(id string) []string
}

// Event says how far a run has come.
type Event struct {
	Module string `json:"module"`
	ID     string `json:"id"`
	Down   bool   `json:"down,omitempty"`
	// Done is false when the step begins, and true when it has ended well.
	Done   bool  `json:"done,omitempty"`
	Millis int64 `json:"ms,omitempty"`
	// Number counts the steps of this run from 1, of Of.
	Number int `json:"number"`
	Of     int `json:"of"`
}

// Migrator is safe for concurrent use: modules migrate side by side, each at most once at a time, whoever asks, in whatever
// process.
type Migrator struct {
	storage *storage.Storage
	locks   *locks
	log     hclog.Logger
}

// New returns a Migrator for the modules whose data is in storage. The locks that an earlier process on the same data
// directory left are given up; dir is that directory, and names this process to those who wait for it.
func New(ctx context.Context, storage *storage.Storage, dir string, log hclog.Logger) (*Migrator, error) {
	locks, err := openLocks(ctx, storage, dir)
	if err != nil {
		return nil, err
	}
	return &Migrator{storage: storage, locks: locks, log: log}, nil
}

// Up applies what is pending, in order, and stops at the first failure: a *StepError. A database that does not fit the
// declaration is refused before anything runs: a *ledger.MissingError, *ledger.OrderError, *ledger.DriftError or
// *ledger.InvalidError. A *LockedError says that somebody else migrates the module. Steps that were applied stay applied,
// and are not run again. progress may be nil.
func (g *Migrator) Up(ctx context.Context, m Module, progress func(Event)) error {
	pending, err := g.pending(ctx, m)
	if err != nil || len(pending) == 0 {
		return err // the usual start: nobody is waited for, and nothing is lent
	}
	return g.alone(ctx, m, progress, func(ctx context.Context, r run) error {
		pending, err := g.pending(ctx, m) // what is left after whoever had the lock before
		if err != nil {
			return err
		}
		return r.all(ctx, upwards(pending))
	})
}

// Down undoes the last n applied steps, the newest first, and stops at the first failure: a *StepError.
func (g *Migrator) Down(ctx context.Context, m Module, n int, progress func(Event)) error {
	return g.alone(ctx, m, progress, func(ctx context.Context, r run) error {
		steps, err := g.last(ctx, m, n)
		if err != nil {
			return err
		}
		return r.all(ctx, steps)
	})
}

// Redo undoes the last applied step and applies it again.
func (g *Migrator) Redo(ctx context.Context, m Module, progress func(Event)) error {
	return g.alone(ctx, m, progress, func(ctx context.Context, r run) error {
		steps, err := g.last(ctx, m, 1)
		if err != nil {
			return err
		}
		return r.all(ctx, append(steps, Step{ID: steps[0].ID}))
	})
}

// last are the steps that undo the last n. That one of them has been edited since is no obstacle: what was applied goes away, and
// to edit, undo and apply again is how a migration is written.
func (g *Migrator) last(ctx context.Context, m Module, n int) ([]Step, error) {
	rows, err := g.storage.Ledger(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	if n > len(rows) || n < 1 {
		return nil, &CountError{Module: m.Name, Asked: n, Applied: len(rows)}
	}
	var steps []Step
	for i := len(rows) - 1; i >= len(rows)-n; i-- {
		rows[i].Checksum = ""
		steps = append(steps, Step{ID: rows[i].ID, Down: true})
	}
	_, err = g.plan(ctx, m, rows)
	return steps, err
}

func upwards(pending []ledger.Declared) []Step {
	steps := make([]Step, len(pending))
	for i, d := range pending {
		steps[i] = Step{ID: d.ID}
	}
	return steps
}

// alone does work as the only one who migrates the module, with access to change its tables.
func (g *Migrator) alone(ctx context.Context, m Module, progress func(Event), work func(context.Context, run) error) error {
	return g.Hold(ctx, m.Name, func(ctx context.Context) (err error) {
		login, err := g.storage.Login(ctx, m.Name, storage.Owner)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeLogin(ctx, login)) }()
		return work(ctx, run{Migrator: g, module: m, database: login.Database, progress: progress})
	})
}

// closeTimeout bounds the end of a migration's login: what is left of it is taken back later.
const closeTimeout = 10 * time.Second

func closeLogin(ctx context.Context, login *storage.Login) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return login.Close(ctx)
}

// pending is what has not been applied, or how ledger and declaration differ.
func (g *Migrator) pending(ctx context.Context, m Module) ([]ledger.Declared, error) {
	rows, err := g.storage.Ledger(ctx, m.Name)
	if err != nil {
		return nil, err
	}
	return g.plan(ctx, m, rows)
}

func (g *Migrator) plan(ctx context.Context, m Module, rows []ledger.Row) ([]ledger.Declared, error) {
	pending, err := ledger.Plan(m.within(rows), m.Declared)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, g.explain(ctx, m, err))
	}
	return pending, nil
}

// within leaves out what a later version has applied at the end.
func (m *Module) within(rows []ledger.Row) []ledger.Row {
	declared := ledger.IDsOf(m.Declared)
	for len(rows) > 0 {
		last := rows[len(rows)-1].ID
		if slices.Contains(declared, last) || !slices.Contains(m.Beyond, last) {
			break
		}
		rows = rows[:len(rows)-1]
	}
	return rows
}

// run is one run of a module's steps by the only one who migrates it, with access to change its tables.
type run struct {
	*Migrator
	module   Module
	database storage.Database
	progress func(Event) // may be nil
}

// all runs steps in order, and looks whether the module did what it said: a step without its row would run again at every start.
func (r run) all(ctx context.Context, steps []Step) error {
	for i, step := range steps {
		if err := r.step(ctx, Event{Module: r.module.Name, ID: step.ID, Down: step.Down, Number: i + 1, Of: len(steps)}); err != nil {
			return err
		}
	}
	if len(steps) == 0 {
		return nil
	}
	last := steps[len(steps)-1]
	rows, err := r.storage.Ledger(ctx, r.module.Name)
	if err != nil {
		return err
	}
	if last.Down == (len(rows) > 0 && rows[len(rows)-1].ID == last.ID) {
		return fmt.Errorf("module %s reported migration %s as done and has not recorded it "+
			"(fix: build the module's migrations with plugin-api/db)", r.module.Name, last.ID)
	}
	return nil
}

func (r run) tell(event Event) {
	if r.progress != nil {
		r.progress(event)
	}
}

// step runs the step that event announces.
func (r run) step(ctx context.Context, event Event) error {
	start := time.Now()
	r.tell(event)
	statements, err := r.module.Run(ctx, r.database, Step{ID: event.ID, Down: event.Down})
	event.Millis = time.Since(start).Milliseconds()
	about := []any{"module", event.Module, "id", event.ID, "ms", event.Millis}
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", err, cause) // such as a lock that was lost
		}
		r.log.Error("migration failed", append(about, "down", event.Down, "error", err)...)
		return &StepError{Module: event.Module, ID: event.ID, Down: event.Down, Err: err}
	}
	what := "migrated"
	if event.Down {
		what = "migration undone"
	}
	r.log.Info(what, append(about, "statements", len(statements))...)
	event.Done = true
	r.tell(event)
	return nil
}
