package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/backend"
)

// Part is something of a module's that a database holds.
type Part struct {
	Kind  string // "schema", "role", "table", "migrations" or "file"
	Name  string
	Rows  int64
	Bytes int64
	Note  string // what could not be found out, and why
}

// inspectWait bounds the looking at a module's data, which may be much, or be made to last.
const inspectWait = 2 * time.Minute

// Inspect lists what the database holds of a module, without making anything. What cannot be read has a note.
func (s *Storage) Inspect(ctx context.Context, module string) ([]Part, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectWait)
	defer cancel()
	parts, err := s.kind.inspect(ctx, module)
	if err == nil && s.Module(module).Driver == backend.PostgreSQL {
		err = s.countRows(ctx, module, parts)
	}
	if err != nil {
		return nil, fmt.Errorf("database of module %s: %w", module, err)
	}
	return parts, nil
}

// Remove drops all that the database holds of a module: on PostgreSQL in one transaction, schema, ledger and roles; on SQLite the
// file, with those that SQLite keeps beside it. The module must not run. What is not there is no error; a *InUseError says that
// another daemon uses it.
func (s *Storage) Remove(ctx context.Context, module string) error {
	if err := s.kind.remove(ctx, module); err != nil {
		return fmt.Errorf("database of module %s: %w", module, err)
	}
	return nil
}

// InUseError says that another daemon, on the same database, has given a process of the module access.
type InUseError struct {
	Module string
	Until  time.Time
}

// Error implements error.
func (e *InUseError) Error() string {
	return fmt.Sprintf("another platformd on this database runs module %s, or was killed while it did "+
		"(fix: platformd module disable %[1]s there; what a killed one left ends by itself at %s)", e.Module,
		e.Until.UTC().Format(time.RFC3339))
}

// countRows counts as the module itself: what belongs to it may run its code when it is read.
func (s *Storage) countRows(ctx context.Context, module string, parts []Part) (err error) {
	if len(parts) == 0 || parts[0].Kind != "schema" {
		return nil // logging in would make one
	}
	db, closeAll, err := s.OpenModule(ctx, module, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll(context.WithoutCancel(ctx))) }()
	for i := range parts {
		if p := &parts[i]; p.Kind == "table" {
			count(db.WithContext(ctx), ident(module)+"."+ident(p.Name), p)
		}
	}
	return nil
}

func count(db *gorm.DB, table string, p *Part) {
	if err := db.Raw("SELECT count(*) FROM " + table).Scan(&p.Rows).Error; err != nil {
		p.Note = "its rows cannot be counted: " + err.Error()
	}
}

func (f *files) inspect(ctx context.Context, module string) ([]Part, error) {
	source := f.module(module).Source
	file := Part{Kind: "file", Name: source}
	for _, suffix := range fileSuffixes() {
		if info, err := os.Lstat(source + suffix); err == nil {
			file.Bytes += info.Size()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		} else if suffix == "" {
			return nil, nil
		}
	}
	tables, err := f.tables(ctx, module)
	if err != nil {
		file.Note = "it cannot be read: " + err.Error()
	}
	return append([]Part{file}, tables...), nil
}

func (f *files) tables(ctx context.Context, module string) (tables []Part, err error) {
	return tables, f.read(ctx, module, func(db *gorm.DB) error {
		var names []string
		err := db.Raw("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name").
			Scan(&names).Error
		for _, name := range names {
			table := Part{Kind: "table", Name: name}
			count(db, ident(name), &table)
			tables = append(tables, table)
		}
		return err
	})
}

// remove takes the file last: as long as it is there, what is beside it belongs to it.
func (f *files) remove(_ context.Context, module string) error {
	source := f.module(module).Source
	for _, suffix := range fileSuffixes() {
		if err := os.Remove(source + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// fileSuffixes are those of a database's files, its own the last.
func fileSuffixes() []string { return []string{"-wal", "-shm", "-journal", ""} }
