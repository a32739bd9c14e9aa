package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// OpenModuleFile opens a module's SQLite file for reading, over one connection. The module may do with its folder what it likes
// while this runs, and the core may read more than the module: so a link, a pipe, or anything else than the regular file that
// is there is refused, also if it takes that file's place in the middle of the opening. Every reader of such files must come
// through here. Without a file the error matches fs.ErrNotExist. Close the result with sqlite.Close.
func OpenModuleFile(ctx context.Context, file string, log hclog.Logger) (*gorm.DB, error) {
	return openModuleFile(ctx, file, sqlite.Options{Log: log, ReadOnly: true}, func() {})
}

// openModuleFile calls checked between the check of what is there and its opening.
func openModuleFile(ctx context.Context, file string, o sqlite.Options, checked func()) (*gorm.DB, error) {
	info, err := os.Lstat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file (fix: remove it)", file)
	}
	checked()
	db, err := openInTime(ctx, file, o)
	if err != nil {
		return nil, err
	}
	if err := isOpen(ctx, db, info); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), sqlite.Close(db))
	}
	return db, nil
}

// opened is what became of an opening.
type opened struct {
	db  *gorm.DB
	err error
}

// openInTime gives up when ctx ends. The opening itself cannot be given up: of a pipe it lasts until somebody writes to it.
func openInTime(ctx context.Context, file string, o sqlite.Options) (*gorm.DB, error) {
	done := make(chan opened)
	go func() {
		db, err := sqlite.Open(ctx, file, o)
		if err == nil {
			err = onlyOnce(db)
		}
		select {
		case done <- opened{db, err}:
		case <-ctx.Done():
			if db != nil {
				_ = sqlite.Close(db) // nobody has used it, and nobody waits any more
			}
		}
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("open database %s: %w", file, ctx.Err())
	}
}

// onlyOnce keeps db to the connection that it has: another one would open the file again.
func onlyOnce(db *gorm.DB) error {
	sqlDB, err := db.DB()
	if err != nil {
		return err
	}
	sqlDB.SetMaxOpenConns(1)
	sqlDB.SetConnMaxLifetime(0)
	sqlDB.SetConnMaxIdleTime(0)
	return nil
}

// isOpen makes sure that db is the file that was found. SQLite follows links while it works out a file's real path, then opens
// that path and follows none: so a real path that still is the file that was found leads to what has been opened.
func isOpen(ctx context.Context, db *gorm.DB, found fs.FileInfo) error {
	var path string
	if err := db.WithContext(ctx).Raw("SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path).Error; err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(info, found) {
		return errors.New("another file took its place while it was opened (fix: see what the module does to its folder)")
	}
	return nil
}
