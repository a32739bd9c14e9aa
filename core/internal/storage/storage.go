// Package storage is where data lives: the core's own database, and the place of each module's. On SQLite, which needs no
// server, each is a file of its own below the data folder. On PostgreSQL they are schemas of one database: the core's, and one
// per module, which only roles of that module's may use.
//
// Floor 1. It must not know what anybody keeps there, except for the ledger of migrations.
package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// The levels of Options.Isolation.
const (
	// IsolationRole gives each process of a module a role of its own, which the server keeps to the module's schema.
	IsolationRole = "role"
	// IsolationSchema gives modules the core's own credentials: each works in its own schema, and nothing but its goodwill
	// keeps it there.
	IsolationSchema = "schema"
)

// Options say where data lives.
type Options struct {
	// DataDir is the data folder. On PostgreSQL it holds no data, but what tells this daemon from others.
	DataDir string
	// URL is that of a PostgreSQL database; empty: SQLite.
	URL config.SecretURL
	// MaxConns is how many connections the core may open, ModuleMaxConns each process of a module; 0 = the configuration's
	// defaults. SQLite has no use for them.
	MaxConns, ModuleMaxConns int
	// Isolation is what keeps modules apart on PostgreSQL; empty: IsolationRole.
	Isolation string
	// Log gets what the database is asked and does not do well; nil discards it.
	Log hclog.Logger
	// Wait is how long Open waits for a server that cannot be reached; 0 = not at all. Waiting, if set, is told why, each time.
	Wait    time.Duration
	Waiting func(error)
}

func (o Options) withDefaults() Options {
	defaults := config.Default().Database
	if o.MaxConns == 0 {
		o.MaxConns = defaults.MaxConns
	}
	if o.ModuleMaxConns == 0 {
		o.ModuleMaxConns = defaults.ModuleMaxConns
	}
	if o.Isolation == "" {
		o.Isolation = defaults.Isolation
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o
}

// Database says where a module's own data lives, and how one process of it gets there.
type Database = backend.Database

// Finding is something about the database that is worse than it should be, and does not keep the platform from working.
type Finding struct {
	Name   string
	Detail string
	Fix    string
}

// Storage is safe for concurrent use.
type Storage struct{ kind kind }

// kind is one of the kinds of databases. What its methods promise stands at the methods of Storage that call them.
type kind interface {
	name() string
	core() *gorm.DB
	ping(ctx context.Context) error
	findings() []Finding
	module(name string) Database
	folder(module string) string
	ledger(ctx context.Context, module string) ([]ledger.Row, error)
	statements(ctx context.Context, module, id string) ([]string, error)
	inspect(ctx context.Context, module string) ([]Part, error)
	remove(ctx context.Context, module string) error
	daemonID() string
	installationID() (string, error)
	login(ctx context.Context, module string, access Access) (*Login, error)
	run(ctx context.Context)
	close() error
}

// Open opens the core's database and makes what is not there. It must be closed.
//
// On SQLite that is core.db below DataDir, readable by its owner alone; every commit to it reaches the disk before it returns.
// On PostgreSQL it is the schema platformd. Several daemons may open one database at the same moment, while it is still empty.
func Open(ctx context.Context, o Options) (*Storage, error) {
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	o = o.withDefaults()
	o.DataDir = dir
	var opened kind
	if o.URL == "" {
		opened, err = openSQLite(ctx, o)
	} else {
		opened, err = openPostgres(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	return &Storage{kind: opened}, nil
}

// Name is the kind of database, for people: "sqlite", or "postgresql 15.4".
func (s *Storage) Name() string { return s.kind.name() }

// Core returns the core's own database.
func (s *Storage) Core() *gorm.DB { return s.kind.core() }

// Ping asks the core's database whether it is there.
func (s *Storage) Ping(ctx context.Context) error { return s.kind.ping(ctx) }

// Findings is what could not be made as it should be when the database was opened.
func (s *Storage) Findings() []Finding { return s.kind.findings() }

// Module says where the data of a module lives, without any credentials: Login gives those. Nothing is created. The name must
// be that of a valid manifest, which cannot leave the folder.
func (s *Storage) Module(name string) Database { return s.kind.module(name) }

// Folder is what the module's process must be able to write for the sake of its data; "" = nothing.
func (s *Storage) Folder(name string) string { return s.kind.folder(name) }

// Ledger returns the migrations that a module's database has been through, in their order; none if the module has no
// database yet. It changes nothing.
func (s *Storage) Ledger(ctx context.Context, name string) ([]ledger.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	applied, err := s.kind.ledger(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("database of module %s: %w", name, err)
	}
	return applied, nil
}

// Statements returns the SQL that a migration of a module ran when it was applied, as the ledger keeps it.
func (s *Storage) Statements(ctx context.Context, module, id string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	ran, err := s.kind.statements(ctx, module, id)
	if err != nil {
		return nil, fmt.Errorf("database of module %s: %w", module, err)
	}
	return ran, nil
}

// DaemonID tells the daemon of this data folder from others that use the same core database.
func (s *Storage) DaemonID() string { return s.kind.daemonID() }

// Installation tells this platform from others. All daemons that use one core database have the same.
func (s *Storage) Installation() (string, error) { return s.kind.installationID() }

// Login gives a process of the module access to its data, and makes their place if there is none. It takes seconds at most,
// however long ctx lasts.
func (s *Storage) Login(ctx context.Context, module string, access Access) (*Login, error) {
	login, err := s.kind.login(ctx, module, access)
	if err != nil {
		return nil, fmt.Errorf("database of module %s: %w", module, err)
	}
	return login, nil
}

// Run keeps what processes have been given valid, and takes back what is left of those that are gone, until ctx ends; then it
// takes back every login, within seconds. It is called once.
func (s *Storage) Run(ctx context.Context) { s.kind.run(ctx) }

// Close takes back every login that is left, and releases the core's database.
func (s *Storage) Close() error { return s.kind.close() }

// ledgerWait bounds the reading of a module's ledger, which the module may have tampered with, or keep locked.
const ledgerWait = 10 * time.Second
