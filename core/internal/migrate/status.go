package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// State is how a migration stands.
type State string

// The states. All but the first two need somebody.
const (
	Applied    State = "applied"
	Pending    State = "pending"
	Unfinished State = "unfinished" // begun outside of a transaction, and interrupted: the next run goes on
	Missing    State = "missing"    // applied, and not declared by the module that is installed
	Edited     State = "edited"     // applied, and declared with another checksum
)

// Status is one migration of a module.
type Status struct {
	ID        string     `json:"id"`
	State     State      `json:"state"`
	AppliedAt *time.Time `json:"applied_at,omitempty"` // UTC
	Millis    int64      `json:"ms,omitempty"`
	Checksum  string     `json:"checksum,omitempty"` // of what was applied
}

// Status lists a module's migrations: what has been applied, in that order, then what is pending. problem says why nothing would
// run, such as a *ledger.DriftError; it is nil if all is well.
func (g *Migrator) Status(ctx context.Context, m Module) (all []Status, problem, err error) {
	rows, err := g.storage.Ledger(ctx, m.Name)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		at := row.AppliedAt.UTC()
		all = append(all, Status{
			ID: row.ID, State: stateOf(row, m.Declared), AppliedAt: &at, Millis: row.DurationMS, Checksum: row.Checksum,
		})
	}
	applied := ledger.IDs(rows)
	for _, d := range m.Declared {
		if !slices.Contains(applied, d.ID) {
			all = append(all, Status{ID: d.ID, State: Pending})
		}
	}
	_, problem = ledger.Plan(rows, m.Declared)
	if problem != nil {
		problem = fmt.Errorf("module %s: %w", m.Name, g.explain(ctx, m, problem))
	}
	return all, problem, nil
}

func stateOf(row ledger.Row, declared []ledger.Declared) State {
	at := slices.IndexFunc(declared, func(d ledger.Declared) bool { return d.ID == row.ID })
	switch {
	case at < 0:
		return Missing
	case row.Unfinished:
		return Unfinished
	case row.Checksum != "" && declared[at].Checksum != "" && row.Checksum != declared[at].Checksum:
		return Edited
	}
	return Applied
}

// Planned is one step that Up would run.
type Planned struct {
	ID string `json:"id"`
	// Statements is what would run, as far as it can be told without running it; a comment says where it cannot.
	Statements []string `json:"statements"`
}

// Plan says what Up would run, and changes nothing.
func (g *Migrator) Plan(ctx context.Context, m Module) (plan []Planned, err error) {
	pending, err := g.pending(ctx, m)
	if err != nil || len(pending) == 0 {
		return nil, err
	}
	login, err := g.storage.Login(ctx, m.Name, storage.Owner)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeLogin(ctx, login)) }()
	for _, d := range pending {
		statements, err := m.Run(ctx, login.Database, Step{ID: d.ID, DryRun: true})
		if err != nil {
			return nil, &StepError{Module: m.Name, ID: d.ID, Err: err}
		}
		plan = append(plan, Planned{ID: d.ID, Statements: statements})
	}
	return plan, nil
}
