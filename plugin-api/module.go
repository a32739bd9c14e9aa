// Package pluginapi is what the author of a module imports: describe the module in a Module value, pass it to Serve.
//
// It is the top floor of the plugin-api Go module. It must not import a database driver or a web framework: a module that
// greets links neither. GORM lives in plugin-api/db.
package pluginapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"google.golang.org/grpc"

	"github.com/platformd/platformd/plugin-api/event"
	"github.com/platformd/platformd/plugin-api/link"
)

// Handler answers one HTTP route. Its error is its verdict: nil means that the response was written; an error made with
// gRPC's status package becomes the matching HTTP status as problem+json, a *problem.Problem is sent as it is, and any
// other error is logged whole and shown to the client as "internal error". If the response had already begun, an error
// cuts the connection, so that the client cannot take a part for the whole.
//
// r.URL.Path is the decoded path below /api/v1/<module>, r.PathValue gives the route's parameters, PrincipalFrom the
// caller. r.Context() ends when the client is gone or the route's timeout has passed. Handlers run concurrently.
type Handler func(w http.ResponseWriter, r *http.Request) error

// HTTP turns any http.Handler (gin, chi, a mux) into the Handler of one route.
func HTTP(h http.Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// Module is all that a module offers; a nil field is not offered. What it offers must match its manifest, which the core
// checks at every launch.
type Module struct {
	// Routes maps a route id of the manifest to its handler.
	Routes map[string]Handler
	// Mount serves every route of the manifest that Routes does not name.
	Mount http.Handler
	// Events maps a pattern of the manifest's events.subscribes, as it is written there, to its handler.
	Events map[string]EventHandler
	// Services registers the gRPC services that the manifest provides, no more and no less. It is called after Init. Handlers are
	// called by the core alone, with a context in which CallerFrom says which module calls, and PrincipalFrom on whose behalf; with
	// that context they may ask the core, and call other modules, on behalf of the same. An error made with gRPC's status package
	// reaches the caller; any other is logged whole, and shown as "internal error".
	Services func(*grpc.Server)
	// Migrations change the module's own database; package db makes them.
	Migrations *Migrations
	// Init acquires what the module needs. It runs once, after the migrations and before the first request. Its context
	// ends with the manifest's startTimeout: background work must not use it.
	Init func(ctx context.Context, core *Core) error
	// Health returns an error while the module cannot do its work. It must return soon; ctx has a deadline.
	Health func(ctx context.Context) error
	// Drain is called before Stop, when no new request or event will come but the last ones may still run, which are waited for:
	// end what would not end by itself, such as streams, and finish work in the background.
	Drain func(ctx context.Context) error
	// Stop releases what Init acquired.
	Stop func(ctx context.Context) error
}

// Migrations is an ordered set of schema changes.
type Migrations struct {
	// IDs in the order they must run, each unique.
	IDs []string
	// Run executes one step and its ledger row in one transaction, and returns the SQL that ran.
	Run func(ctx context.Context, database Database, step Step) (statements []string, err error)
}

// Step is one migration in one direction.
type Step struct {
	ID   string
	Down bool
	// DryRun changes nothing: the statements are those that would run, as far as that can be told without running them.
	DryRun bool
}

// Database says where the module's own data lives. The zero value means that the manifest does not grant `database`.
type Database struct {
	Driver string // "sqlite" or "postgres"
	// Source is the path of the module's own SQLite file, or a PostgreSQL URL with this process's own credentials.
	Source      string
	TablePrefix string // prefix of every table of the module: "blog_"
	MaxConns    int    // the most connections that the process may open; 0 = no limit
	// RootCertificates, PEM, are what a PostgreSQL server's own must be signed by; empty = the system's.
	RootCertificates []byte
	Ledger           string // the table that records which migrations have been applied
	// Events is whether the manifest speaks of events: then there are tables for them, and commits survive a power cut.
	Events bool
}

// Principal is who is calling, as the core authenticated it.
type Principal = link.Principal

// PrincipalFrom returns who sent the request that ctx belongs to, or on whose behalf another module made the call; outside of
// both it is anonymous.
func PrincipalFrom(ctx context.Context) Principal {
	if call := link.FromContext(ctx); call != nil {
		return call.Principal
	}
	return link.Anonymous()
}

// validate reports mistakes that no manifest is needed to see.
func (m *Module) validate() error {
	var problems []error
	for _, id := range m.routeIDs() {
		if m.Routes[id] == nil {
			problems = append(problems, fmt.Errorf("the handler of Routes[%q] is nil: give it one, or remove the route", id))
		}
	}
	for _, pattern := range m.patterns() {
		if m.Events[pattern] == nil {
			problems = append(problems, fmt.Errorf("the handler of Events[%q] is nil: give it one, or remove it", pattern))
		}
		if err := event.CheckPattern(pattern); err != nil {
			problems = append(problems, fmt.Errorf("the module's Events: %w", err))
		}
	}
	if m.Migrations != nil {
		problems = append(problems, m.Migrations.validate())
	}
	return errors.Join(problems...)
}

func (m *Module) routeIDs() []string { return slices.Sorted(maps.Keys(m.Routes)) }

func (m *Module) patterns() []string { return slices.Sorted(maps.Keys(m.Events)) }

func (m *Migrations) validate() error {
	if m.Run == nil {
		return errors.New("there is no Migrations.Run: make migrations with db.Migrations")
	}
	seen := make(map[string]bool, len(m.IDs))
	for _, id := range m.IDs {
		switch {
		case id == "":
			return errors.New("a migration has no ID: name each step, such as \"0001_posts\"")
		case seen[id]:
			return fmt.Errorf("two migrations have the ID %q: every step needs its own", id)
		}
		seen[id] = true
	}
	return nil
}
