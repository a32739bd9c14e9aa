// Package storage is where data lives: the core's own database, and the place of each module's. On SQLite, which needs no
// server, each is a file of its own below the data folder.
//
// Floor 1. It must not know what anybody keeps there, except for the ledger of migrations.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// driverSQLite is Database.Driver of a file.
const driverSQLite = "sqlite"

// ledgerWait bounds the reading of a module's ledger, which lies in a file that the module may have tampered with.
const ledgerWait = 10 * time.Second

// Database says where a module's own data lives; it has the shape of what the module is told.
type Database struct {
	Driver           string // "sqlite" or "postgres"
	Source           string // the absolute path of the module's own file, or a PostgreSQL URL with a process's own credentials
	TablePrefix      string // prefix of every table of the module: "blog_"
	MaxConns         int    // the most connections that the process may open; 0 = no limit
	RootCertificates []byte // PEM: what a PostgreSQL server's own must be signed by; empty = the system's
	Ledger           string // the table that records which migrations have been applied
}

// Storage is safe for concurrent use.
type Storage struct {
	dir  string // absolute
	core *gorm.DB
	log  hclog.Logger
}

// Open opens the core's database below dataDir and creates what is not there, for its owner alone: dataDir and its folders
// (0700), core.db (0600). Every commit to it reaches the disk before it returns. It must be closed.
func Open(ctx context.Context, dataDir string, log hclog.Logger) (*Storage, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return nil, fmt.Errorf("find the data folder: %w", err)
	}
	core, err := sqlite.Open(ctx, filepath.Join(dir, "core.db"), sqlite.Options{Log: log, Durable: true})
	if err != nil {
		return nil, err
	}
	return &Storage{dir: dir, core: core, log: log}, nil
}

// Core returns the core's own database.
func (s *Storage) Core() *gorm.DB { return s.core }

// Module says where the data of a module lives. Nothing is created: the module does that when it first opens it. The name
// must be that of a valid manifest, which cannot leave the folder.
func (s *Storage) Module(name string) Database {
	return Database{
		Driver:      driverSQLite,
		Source:      filepath.Join(s.dir, "modules", name, name+".db"),
		TablePrefix: name + "_",
		Ledger:      ledger.Table,
	}
}

// Folder is what the module's process must be able to write for the sake of its data; "" = nothing.
func (s *Storage) Folder(name string) string { return filepath.Dir(s.Module(name).Source) }

// Ledger returns the migrations that a module's database has been through, in their order; none if the module has no
// database yet. It changes nothing.
func (s *Storage) Ledger(ctx context.Context, name string) (applied []ledger.Row, err error) {
	file := s.Module(name).Source
	switch info, err := os.Lstat(file); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && !info.Mode().IsRegular(): // a link could lead to what the module itself may not read
		return nil, fmt.Errorf("database of module %s: %s is not a regular file (fix: remove it)", name, file)
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	db, err := sqlite.Open(ctx, file, sqlite.Options{Log: s.log, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sqlite.Close(db)) }()
	applied, err = ledger.Read(db.WithContext(ctx), ledger.Table)
	if err != nil {
		return nil, fmt.Errorf("database of module %s: %w", name, err)
	}
	return applied, nil
}

// Close releases the core's database.
func (s *Storage) Close() error { return sqlite.Close(s.core) }
