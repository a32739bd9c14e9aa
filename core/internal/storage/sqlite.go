package storage

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// files is the backend that needs no server.
type files struct {
	Options
	db *gorm.DB
}

func openSQLite(ctx context.Context, o Options) (*files, error) {
	if err := checkRestored(o.DataDir); err != nil {
		return nil, err
	}
	core, err := sqlite.Open(ctx, CoreFile(o.DataDir), sqlite.Options{Log: o.Log, Durable: true})
	if err != nil {
		return nil, err
	}
	return &files{Options: o, db: core}, nil
}

func (f *files) name() string { return backend.SQLite }

func (f *files) core() *gorm.DB { return f.db }

func (f *files) ping(ctx context.Context) error { return ping(ctx, f.db) }

func (f *files) findings() []Finding { return nil }

func (f *files) module(name string) Database {
	return Database{
		Driver:      backend.SQLite,
		Source:      ModuleFile(f.DataDir, name),
		TablePrefix: name + "_",
		Ledger:      ledger.Table,
	}
}

func (f *files) folder(module string) string { return filepath.Dir(f.module(module).Source) }

func (f *files) ledger(ctx context.Context, module string) (applied []ledger.Row, err error) {
	err = f.read(ctx, module, func(db *gorm.DB) error {
		applied, err = ledger.Read(db, ledger.Table)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return applied, err
}

func (f *files) statements(ctx context.Context, module, id string) (ran []string, err error) {
	return ran, f.read(ctx, module, func(db *gorm.DB) error {
		ran, err = ledger.Statements(db, ledger.Table, id)
		return err
	})
}

// read lets look into a module's file.
func (f *files) read(ctx context.Context, module string, look func(*gorm.DB) error) (err error) {
	db, err := OpenModuleFile(ctx, f.module(module).Source, f.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sqlite.Close(db)) }()
	return look(db.WithContext(ctx))
}

// daemonID: the file is one daemon's, whatever its folder is called.
func (f *files) daemonID() string { return backend.SQLite }

func (f *files) installationID() (string, error) { return daemonID(f.DataDir) }

// login: what keeps modules apart is who may open which file, which is decided where their processes start.
func (f *files) login(_ context.Context, module string, _ Access) (*Login, error) {
	return &Login{Database: f.module(module)}, nil
}

func (f *files) run(ctx context.Context) { <-ctx.Done() }

func (f *files) close() error { return sqlite.Close(f.db) }

// ping asks db whether it is there.
func ping(ctx context.Context, db *gorm.DB) error { return db.WithContext(ctx).Exec("SELECT 1").Error }
