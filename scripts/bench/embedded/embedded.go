// Package embedded runs a module of platformd the way one would write the same service without a platform: one process, gin, and
// the module's own handlers, with its own migrations and database. It is what platformd's modules with data are compared with.
//
// The benchmark builds the sample module blog with a main that calls Main instead of pluginapi.Serve; so both contestants run
// the same handlers, and none of their code is copied. The package must not use anything of a platform but the types in which
// handlers are told who calls.
package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/hashicorp/go-hclog"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/outbox"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/scripts/bench/internal/front"
)

// Order says what to run. It comes as JSON in a file, which its token makes a secret.
type Order struct {
	Manifest string             `json:"manifest"` // the path of the module's module.yaml
	Database pluginapi.Database `json:"database"`
	Token    string             `json:"token"` // opens every route
}

// Main serves the module on the address (host:port) of the program's first argument, as the order in the file of the second one
// says, until the process gets SIGTERM or SIGINT.
func Main(module pluginapi.Module) {
	if len(os.Args) != 3 {
		fmt.Fprintf(os.Stderr, "usage: %s HOST:PORT ORDER.json\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], module); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+err.Error())
		os.Exit(1)
	}
}

func run(address, path string, module pluginapi.Module) (err error) {
	order, err := read(path)
	if err != nil {
		return err
	}
	ctx := context.Background()
	h, err := start(ctx, order, module)
	if err != nil {
		return err
	}
	err = front.Serve(address, h)
	return errors.Join(err, call(ctx, module.Drain), call(ctx, module.Stop))
}

func read(path string) (order Order, err error) {
	content, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(content, &order)
	}
	if err != nil {
		return Order{}, fmt.Errorf("read the order: %w", err)
	}
	return order, nil
}

// start migrates and initializes the module, and returns what serves its routes.
func start(ctx context.Context, order Order, module pluginapi.Module) (http.Handler, error) {
	declared, err := manifest.Load(order.Manifest)
	if err != nil {
		return nil, err
	}
	order.Database.Events = declared.Events.Any()
	if err := migrate(ctx, order.Database, module.Migrations); err != nil {
		return nil, err
	}
	log := hclog.New(&hclog.LoggerOptions{Name: declared.Name, Level: hclog.Warn, Output: os.Stderr})
	core := pluginapi.NewCore(pluginapi.Core{
		Name: declared.Name, Version: declared.Version, Log: log, Database: order.Database,
	}, nil, neighbours{})
	if module.Init != nil {
		if err := module.Init(ctx, core); err != nil {
			return nil, fmt.Errorf("initialize the module: %w", errors.Join(err, call(ctx, module.Stop)))
		}
	}
	return newServer(declared, order.Token, log).engine(module.Routes) //nolint:contextcheck // a request has a context of its own
}

// migrate does for a module's database what the core does: it makes the ledger and the tables for events, and runs every step.
// What the module puts into its outbox stays there: there is nobody to tell.
func migrate(ctx context.Context, database pluginapi.Database, migrations *pluginapi.Migrations) error {
	if migrations == nil {
		return nil
	}
	if err := makeTables(ctx, database); err != nil {
		return err
	}
	for _, id := range migrations.IDs {
		if _, err := migrations.Run(ctx, database, pluginapi.Step{ID: id}); err != nil {
			return fmt.Errorf("migrate the module's database: %w", err)
		}
	}
	return nil
}

func makeTables(ctx context.Context, database pluginapi.Database) (err error) {
	db, err := backend.Open(ctx, backend.Database(database), backend.Options{Migration: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Close(db)) }()
	if database.Events {
		if err := outbox.Create(ctx, db); err != nil {
			return err
		}
	}
	return ledger.Ensure(db.WithContext(ctx), ledger.Table)
}

func call(ctx context.Context, phase func(context.Context) error) error {
	if phase == nil {
		return nil
	}
	return phase(ctx)
}
