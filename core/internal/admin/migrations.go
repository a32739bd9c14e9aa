package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/platformd/platformd/core/internal/jsonbody"
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

// ModulePlan is what an order up would do to one module.
type ModulePlan struct {
	Module string             `json:"module"`
	Steps  []PlannedMigration `json:"steps"`
	// Problem says why nothing would run, and Fix what to do about it; both are empty if all is well.
	Problem string `json:"problem,omitempty"`
	Fix     string `json:"fix,omitempty"`
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
	// Plan is of one module, or of all that have migrations, like Status.
	Plan func(ctx context.Context, module string) ([]ModulePlan, error)
	// Run carries out an order, tells how it goes, and returns when it is done. If ctx ends, so does the step that runs: one in a
	// transaction is undone.
	Run func(ctx context.Context, module string, order MigrationOrder, progress func(MigrationEvent)) error
}

// Migrations returns those of the daemon. A call takes as long as the modules.
func (c *Client) Migrations() Migrations {
	patient := c.patient()
	return Migrations{Status: patient.migrationStatus, Plan: patient.migrationPlan, Run: patient.migrate}
}

func (c *Client) migrationStatus(ctx context.Context, module string) ([]ModuleMigrations, error) {
	path := "/v1/migrations?module=" + url.QueryEscape(module)
	return collect[ModuleMigrations](ctx, c, request{method: http.MethodGet, path: path})
}

func (c *Client) migrationPlan(ctx context.Context, module string) ([]ModulePlan, error) {
	path := "/v1/migrations/plan?module=" + url.QueryEscape(module)
	return collect[ModulePlan](ctx, c, request{method: http.MethodGet, path: path})
}

// collect asks what may have to launch modules.
func collect[T any](ctx context.Context, c *Client, req request) ([]T, error) {
	all, err := ask[list[T]](ctx, c, req)
	return all.Items, err
}

// migrationLine is one line of the answer to an order: an event, or at the end how it went.
type migrationLine struct {
	*MigrationEvent
	Ended   bool             `json:"ended,omitempty"`
	Problem *problem.Problem `json:"problem,omitempty"`
}

func (c *Client) migrate(ctx context.Context, module string, order MigrationOrder, progress func(MigrationEvent)) error {
	path := fmt.Sprintf("/v1/modules/%s/migrations/%s?steps=%d", url.PathEscape(module), order.Direction, max(order.Steps, 1))
	resp, err := c.send(ctx, request{method: http.MethodPost, path: path})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := json.NewDecoder(resp.Body)
	for {
		var line migrationLine
		switch err := lines.Decode(&line); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the daemon broke off: %w (fix: see `platformd logs`, and `platformd migrate status`)", err)
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
	module, err := parameter(r, "module")
	if err != nil {
		return err
	}
	noDeadline(w)
	all, err := a.deps.Migrations.Status(r.Context(), module)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[ModuleMigrations]{Items: orEmpty(all)})
}

func (a *api) migrationPlan(w http.ResponseWriter, r *http.Request) error {
	module, err := parameter(r, "module")
	if err != nil {
		return err
	}
	noDeadline(w)
	plan, err := a.deps.Migrations.Plan(r.Context(), module)
	if err != nil {
		return err
	}
	return jsonbody.Write(w, http.StatusOK, list[ModulePlan]{Items: orEmpty(plan)})
}

// parameter is the value of the one parameter that a path has, "" without it. Another one, or two of it, is a mistake.
func parameter(r *http.Request, name string) (string, error) {
	values, err := parameters(r, name)
	return values[name], err
}

// parameters is parameter for a path with several.
func parameters(r *http.Request, names ...string) (map[string]string, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest(err)
	}
	given := make(map[string]string, len(values))
	for name, all := range values {
		switch {
		case !slices.Contains(names, name):
			return nil, badRequest(fmt.Errorf("the parameter %q: there is no such parameter; use %s", name, strings.Join(names, ", ")))
		case len(all) > 1:
			return nil, badRequest(fmt.Errorf("the parameter %q is there twice", name))
		}
		given[name] = all[0]
	}
	return given, nil
}

// steps reads how many migrations an order is about: one, if nothing is said.
func steps(r *http.Request) (int, error) {
	text, err := parameter(r, "steps")
	if err != nil || text == "" {
		return 1, err
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 {
		return 0, badRequest(fmt.Errorf("the parameter \"steps\" is %q\nfix: write a number above 0", text))
	}
	return int(n), nil
}

// migrate answers as the steps go.
func (a *api) migrate(direction string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		steps, err := steps(r)
		if err != nil {
			return err
		}
		order, module := MigrationOrder{Direction: direction, Steps: steps}, r.PathValue("name")
		c := change{action: "migration." + direction, resource: "module/" + module, details: []string{"steps", strconv.Itoa(steps)}}
		return a.lines(w, func(say func(any)) error {
			tell := func(e MigrationEvent) { say(migrationLine{MigrationEvent: &e}) }
			err := a.perform(r, &c, func(ctx context.Context) error { return a.deps.Migrations.Run(ctx, module, order, tell) })
			if err != nil && r.Context().Err() != nil {
				err = problem.New(http.StatusServiceUnavailable, "unavailable",
					"the platform stops, and the migration with it\nfix: run the command again when it has stopped")
			}
			return err
		})
	}
}

// noDeadline lets an answer take as long as a module: the server's own deadline is made for quick ones.
func noDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
}
