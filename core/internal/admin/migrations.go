package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/platformd/platformd/plugin-api/problem"
)

// ModuleMigrations is how the migrations of one module stand.
type ModuleMigrations struct {
	Module string      `json:"module"`
	Steps  []Migration `json:"steps"`
	// Problem says why nothing would run, and Fix what to do about it; both are empty if all is well.
	Problem string `json:"problem,omitempty"`
	Fix     string `json:"fix,omitempty"`
}

// Migration is one step: applied, pending, unfinished, missing or edited.
type Migration struct {
	ID        string     `json:"id"`
	State     string     `json:"state"`
	AppliedAt *time.Time `json:"applied_at,omitempty"`
	Millis    int64      `json:"ms,omitempty"`
	Checksum  string     `json:"checksum,omitempty"`
}

// PlannedMigration is a pending step, and the SQL that it would run, as far as that can be told without running it.
type PlannedMigration struct {
	ID         string   `json:"id"`
	Statements []string `json:"statements"`
}

// MigrationOrder is what an operator can have done with a module's migrations.
type MigrationOrder struct {
	// Direction is MigrateUp (all that is pending), MigrateDown (undo the last Steps) or MigrateRedo (undo the last one and
	// apply it again).
	Direction string
	Steps     int
}

// The directions.
const (
	MigrateUp   = "up"
	MigrateDown = "down"
	MigrateRedo = "redo"
)

// MigrationEvent says that a step begins, or (Done) has ended.
type MigrationEvent struct {
	ID     string `json:"id"`
	Down   bool   `json:"down,omitempty"`
	Done   bool   `json:"done,omitempty"`
	Millis int64  `json:"ms,omitempty"`
	// Number counts from 1, of Of.
	Number int `json:"number"`
	Of     int `json:"of"`
}

// Migrations are what can be asked about migrations, of a daemon that runs or in its absence. Every field is set. Errors that
// somebody can act on are *problem.Problem; a module that is not known is one with the status 404.
type Migrations struct {
	// Status describes one module, or all that have migrations if the name is empty.
	Status func(ctx context.Context, module string) ([]ModuleMigrations, error)
	Plan   func(ctx context.Context, module string) ([]PlannedMigration, error)
	// Run carries out an order, tells how it goes, and returns when it is done.
	Run func(ctx context.Context, module string, order MigrationOrder, progress func(MigrationEvent)) error
}

// Migrations returns those of the daemon. A call takes as long as the modules.
func (c *Client) Migrations() Migrations {
	patient := &Client{http: &http.Client{Transport: c.transport(0)}}
	return Migrations{Status: patient.migrationStatus, Plan: patient.migrationPlan, Run: patient.migrate}
}

func (c *Client) migrationStatus(ctx context.Context, module string) ([]ModuleMigrations, error) {
	path := "/v1/migrations?module=" + url.QueryEscape(module)
	return collect[ModuleMigrations](ctx, c, request{method: http.MethodGet, path: path})
}

func (c *Client) migrationPlan(ctx context.Context, module string) ([]PlannedMigration, error) {
	path := "/v1/modules/" + url.PathEscape(module) + "/migrations/plan"
	return collect[PlannedMigration](ctx, c, request{method: http.MethodGet, path: path})
}

// collect is call without a limit of time: what is asked may have to launch modules.
func collect[T any](ctx context.Context, c *Client, req request) ([]T, error) {
	resp, err := c.send(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var all list[T]
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return all.Items, nil
}

// migrationLine is one line of the answer to an order: an event, or at the end how it went.
type migrationLine struct {
	*MigrationEvent
	Ended   bool             `json:"ended,omitempty"`
	Problem *problem.Problem `json:"problem,omitempty"`
}

func (c *Client) migrate(ctx context.Context, module string, order MigrationOrder, progress func(MigrationEvent)) error {
	path := fmt.Sprintf("/v1/modules/%s/migrations/%s?steps=%d", url.PathEscape(module), order.Direction, order.Steps)
	resp, err := c.send(ctx, request{method: http.MethodPost, path: path})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var line migrationLine
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return errors.New("the daemon broke off (fix: see `platformd logs`, and `platformd migrate status`)")
		case err != nil:
			return fmt.Errorf("read the daemon's answer: %w", err)
		case line.Problem != nil:
			return line.Problem
		case line.Ended:
			return nil
		case line.MigrationEvent != nil:
			progress(*line.MigrationEvent)
		}
	}
}

func (a *api) migrations(w http.ResponseWriter, r *http.Request) error {
	noDeadline(w)
	all, err := a.deps.Migrations.Status(r.Context(), r.URL.Query().Get("module"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list[ModuleMigrations]{Items: orEmpty(all)})
}

func (a *api) migrationPlan(w http.ResponseWriter, r *http.Request) error {
	noDeadline(w)
	plan, err := a.deps.Migrations.Plan(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list[PlannedMigration]{Items: orEmpty(plan)})
}

// migrate answers line by line, as the steps go. What goes wrong after the first line is a line, too.
func (a *api) migrate(direction string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		steps, err := strconv.ParseUint(r.URL.Query().Get("steps"), 10, 31)
		if err != nil {
			return badRequest(fmt.Errorf("the parameter steps: %w", err))
		}
		noDeadline(w)
		lines, began := json.NewEncoder(w), false
		say := func(line migrationLine) {
			if !began {
				began = true
				w.Header().Set("Content-Type", "application/x-ndjson")
			}
			_ = lines.Encode(line) // who asked may be gone; the migration goes on to the end of its step
			_ = http.NewResponseController(w).Flush()
		}
		order := MigrationOrder{Direction: direction, Steps: int(steps)}
		err = a.deps.Migrations.Run(r.Context(), r.PathValue("name"), order, func(e MigrationEvent) { say(migrationLine{MigrationEvent: &e}) })
		switch {
		case err == nil:
			say(migrationLine{Ended: true})
		case !began:
			return err
		default:
			p, public := problem.FromError(err)
			if !public {
				a.deps.Log.Error("a migration failed", "error", err)
			}
			say(migrationLine{Problem: p})
		}
		return nil
	}
}

// noDeadline lets an answer take as long as a module: the server's own deadline is made for quick ones.
func noDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
}
