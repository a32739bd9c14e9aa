package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// oldestServer is the least server_version_num that has all that is used here: PostgreSQL 13.
const oldestServer = 130000

// server is the backend of a PostgreSQL database.
type server struct {
	Options
	names
	address address
	daemon  string // the id of this daemon
	db      *gorm.DB
	// quiet is db for statements that hold a password's verifier, and for failures that are dealt with: nothing logs them.
	quiet   *gorm.DB
	version string
	found   []Finding

	mu          sync.Mutex // guards what follows
	provisioned map[string]bool
	live        map[string]*session // by role
	released    []*session
	wake        chan struct{} // has a value when something was released
}

// openPostgres connects, and makes what is not there.
func openPostgres(ctx context.Context, o Options) (*server, error) {
	at, err := parseAddress(o.URL.Reveal())
	if err != nil {
		return nil, err
	}
	id, err := daemonID(o.DataDir)
	if err != nil {
		return nil, err
	}
	s := &server{
		Options: o, address: at, daemon: id, provisioned: make(map[string]bool), live: make(map[string]*session),
		wake: make(chan struct{}, 1),
	}
	if s.db, err = connect(ctx, o, at); err != nil {
		return nil, err
	}
	s.quiet = s.db.Session(&gorm.Session{Logger: logger.Discard})
	if err := s.bootstrap(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", at, err), postgres.Close(s.db))
	}
	for _, finding := range s.found {
		o.Log.Warn("the database is not as it should be: "+finding.Detail, "what", finding.Name, "fix", finding.Fix)
	}
	return s, nil
}

func (s *server) name() string {
	if s.Isolation == IsolationSchema {
		return "postgresql " + s.version + ", isolation: schema (modules are trusted with each other's data)"
	}
	return "postgresql " + s.version
}

func (s *server) core() *gorm.DB { return s.db }

func (s *server) ping(ctx context.Context) error {
	if err := ping(ctx, s.db); err != nil {
		return explain(err, s.address)
	}
	return nil
}

func (s *server) findings() []Finding { return s.found }

func (s *server) module(name string) Database {
	return Database{
		Driver: backend.PostgreSQL, TablePrefix: name + "_", MaxConns: s.ModuleMaxConns, RootCertificates: s.address.roots,
		Ledger: ledgerOf(name),
	}
}

// folder: a module on a server needs none.
func (s *server) folder(string) string { return "" }

// ledger reads a table that the core owns, and nothing else: what belongs to a module may run its code when it is read.
func (s *server) ledger(ctx context.Context, module string) ([]ledger.Row, error) {
	return ledger.Read(s.db.WithContext(ctx), ledgerOf(module))
}

func (s *server) statements(ctx context.Context, module, id string) ([]string, error) {
	return ledger.Statements(s.db.WithContext(ctx), ledgerOf(module), id)
}

func (s *server) daemonID() string { return s.daemon }

func (s *server) installationID() (string, error) { return s.installation, nil }

// close takes back what is left, as Run does where it runs.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endWait)
	defer cancel()
	return errors.Join(s.endAll(ctx), postgres.Close(s.db))
}

// The pauses between two attempts to reach a server, of which each is twice the one before.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// connect waits for a server that cannot be reached as long as o says, and for nothing else: a wrong password stays wrong.
func connect(ctx context.Context, o Options, at address) (*gorm.DB, error) {
	deadline := time.Now().Add(o.Wait)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		db, err := postgres.Open(ctx, o.URL.Reveal(), postgres.Options{
			Log: o.Log, MaxConns: o.MaxConns,
			Settings: map[string]string{"search_path": coreSchema, "application_name": "platformd"},
		})
		if err == nil {
			return db, nil
		}
		err = explain(err, at)
		var refused *ConnectError
		if !errors.As(err, &refused) || !refused.Passing || time.Now().Add(pause).After(deadline) {
			return nil, err
		}
		if o.Waiting != nil {
			o.Waiting(err)
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// wait returns early, with its error, when ctx ends.
func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transaction runs work in a transaction that waits for nobody's lock for long: what it changes, a module can lock. It runs again
// if another daemon changed the same at the same moment, as when several start or stop together.
func (s *server) transaction(ctx context.Context, work func(tx *gorm.DB) error) error {
	return s.retryRaces(ctx, func(ctx context.Context) error {
		return s.quiet.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("SET LOCAL lock_timeout = '3s'").Error; err != nil {
				return err
			}
			return work(tx)
		})
	})
}

// execute runs statements one after the other.
func execute(tx *gorm.DB, statements ...string) error {
	for _, statement := range statements {
		if err := tx.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}
