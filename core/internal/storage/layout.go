package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gorm.io/gorm"
)

// CoreFile is the core's own SQLite file below a data folder.
func CoreFile(dataDir string) string { return filepath.Join(dataDir, "core.db") }

// ModuleFile is the SQLite file of a module below a data folder.
func ModuleFile(dataDir, module string) string {
	return filepath.Join(dataDir, "modules", module, module+".db")
}

// ValidModule tells whether a module may have the name, on either backend. A valid one leads out of no folder.
func ValidModule(name string) bool { return moduleName.MatchString(name) }

// RestoreMark is a file that is in a data folder while the files of a backup take the place of others, and tells what is to be
// done if that is never finished.
func RestoreMark(dataDir string) string { return filepath.Join(dataDir, "restore.pending") }

// checkRestored refuses a data folder in which some files may be a backup's, and others not.
func checkRestored(dataDir string) error {
	text, err := os.ReadFile(RestoreMark(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an interrupted restore: %w (fix: make data.dir a folder of this user's)", err)
	}
	return fmt.Errorf("a restore into %s was interrupted while it put files into place; %s"+
		" (fix: run `platformd db restore FILE --replace` again)", dataDir, text)
}

// Connect connects to a PostgreSQL database as Open does, and makes nothing. Close the result with postgres.Close.
func Connect(ctx context.Context, o Options) (*gorm.DB, error) {
	o = o.withDefaults()
	at, err := parseAddress(o.URL.Reveal())
	if err != nil {
		return nil, err
	}
	return connect(ctx, o, at)
}
