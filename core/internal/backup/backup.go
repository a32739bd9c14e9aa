// Package backup writes all data of a platform, the core's and the modules', to one file, and makes a platform of such a file
// again.
//
// Floor 2. It must not know what is in the data, nor run anything of a module's with the core's rights: a module's part is read
// and written as the module itself where there is anything that could run.
package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/plugin-api/db/backend"
)

// Options say which platform it is about.
type Options struct {
	// DataDir is its data folder. While Restore runs, the caller keeps daemons away from it.
	DataDir string
	// Database is where the data lives, as the platform is configured.
	Database config.Database
	// Version is that of platformd.
	Version string
	// Log is nil or gets what the database is asked and does not do well.
	Log hclog.Logger
	// Progress, which may be nil, hears how far the work is; it is called from one goroutine at a time.
	Progress func(Progress)

	at      func(stage string) // for tests, which end the process there
	folders []string           // of PostgreSQL's programs; nil: where they usually are
}

// Progress is how far the work is, in units that mean nothing by themselves.
type Progress struct {
	What        string
	Done, Total int64
}

// Report is what was done.
type Report struct {
	File      string
	Size      int64
	Backend   string
	Modules   []string
	CreatedAt time.Time // of the backup
	Aside     string    // where Restore moved what was there before; "": nothing was
}

func (o Options) backend() string {
	if o.Database.URL == "" {
		return backend.SQLite
	}
	return backend.PostgreSQL
}

func (o Options) tell(what string, done, total int64) {
	if o.Progress != nil {
		o.Progress(Progress{What: what, Done: done, Total: total})
	}
}

func (o Options) reach(stage string) {
	if o.at != nil {
		o.at(stage)
	}
}

func (o Options) prepared() (Options, error) {
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return o, fmt.Errorf("find the data folder: %w", err)
	}
	o.DataDir = dir
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o, nil
}

// Create writes a backup to file, which it replaces once the backup is whole and on the disk. The platform may be running: on
// SQLite each database is as it was at one moment, on PostgreSQL all of them are as they were at the same one.
func Create(ctx context.Context, o Options, file string) (*Report, error) {
	o, err := o.prepared()
	if err != nil {
		return nil, err
	}
	w, err := beginArchive(file)
	if err != nil {
		return nil, err
	}
	defer w.discard() // nothing is left of a finished one
	c := &contents{Format: format, Platformd: o.Version, Backend: o.backend(), CreatedAt: time.Now().UTC()}
	if o.backend() == backend.SQLite {
		err = stageFiles(ctx, o, c, w.parts)
	} else {
		err = stageDumps(ctx, o, c, w.parts)
	}
	if err != nil {
		return nil, err
	}
	o.reach("staged")
	if err := w.write(ctx, c); err != nil {
		return nil, err
	}
	o.reach("written")
	size, err := w.finish()
	if err != nil {
		return nil, err
	}
	return &Report{File: w.file, Size: size, Backend: c.Backend, Modules: c.Modules, CreatedAt: c.CreatedAt}, nil
}

// Restore makes the platform's data what it was when the backup was made. All of the archive is checked before anything changes.
// Where there is data already it refuses, unless replace says that this is to be moved aside.
//
// On PostgreSQL the platform's database must be empty.
func Restore(ctx context.Context, o Options, file string, replace bool) (*Report, error) {
	o, err := o.prepared()
	if err != nil {
		return nil, err
	}
	a, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if a.Backend != o.backend() {
		return nil, fmt.Errorf("%s is a backup of a platform on %s, and this one is on %s (fix: set database.url to a %s database, "+
			"or remove it for sqlite)", file, a.Backend, o.backend(), a.Backend)
	}
	report := &Report{File: a.file, Size: a.size, Backend: a.Backend, Modules: a.Modules, CreatedAt: a.CreatedAt}
	stage, err := stagingFolder(o.DataDir)
	if err != nil {
		return nil, err
	}
	restore := restoreDumps
	if a.Backend == backend.SQLite {
		restore = restoreFiles
	}
	report.Aside, err = restore(ctx, restoring{Options: o, archive: a, stage: stage, replace: replace})
	if err := errors.Join(err, os.RemoveAll(stage)); err != nil {
		return nil, err
	}
	return report, nil
}

// restoring is what a restore works with.
type restoring struct {
	Options
	archive *archive
	stage   string // an empty folder, on the disk of the data folder
	replace bool
}

// stagingFolder makes the folder anew; an interrupted restore may have left one.
func stagingFolder(dataDir string) (string, error) {
	dir := filepath.Join(dataDir, "restoring")
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("make a folder to restore in: %w (fix: run as the user that owns the data directory)", err)
	}
	return dir, nil
}
