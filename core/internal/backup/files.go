package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// stageFiles copies every SQLite file of the platform.
func stageFiles(ctx context.Context, o Options, c *contents, dir string) error {
	modules, err := findModules(o.DataDir)
	if err != nil {
		return err
	}
	c.Modules = modules
	names := c.names()
	weights, total := weigh(o.DataDir, names)
	done := int64(0)
	for i, name := range names {
		source, weight := filepath.Join(o.DataDir, name), weights[i]
		tell := func(part, of int64) { o.tell(name, done+weight*part/max(of, 1), total) }
		open := storage.OpenModuleFile
		if i == 0 {
			open = openCore
		}
		if err := copyFile(ctx, source, filepath.Join(dir, name), copier{o, open, tell}); err != nil {
			return fmt.Errorf("back up %s: %w", name, err)
		}
		done += weight
		o.reach("copied " + name)
	}
	return nil
}

// copier is how one file is copied.
type copier struct {
	Options
	open func(context.Context, string, hclog.Logger) (*gorm.DB, error)
	tell func(done, total int64)
}

func openCore(ctx context.Context, file string, log hclog.Logger) (*gorm.DB, error) {
	return sqlite.Open(ctx, file, sqlite.Options{Log: log, ReadOnly: true})
}

func copyFile(ctx context.Context, source, target string, c copier) (err error) {
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	db, err := c.open(ctx, source, c.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sqlite.Close(db)) }()
	return sqlite.Backup(ctx, db, target, c.tell)
}

// findModules lists the modules that have a file, whether or not they are installed.
func findModules(dataDir string) (modules []string, err error) {
	if _, err := os.Lstat(storage.CoreFile(dataDir)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no data in %s (fix: name the folder of a platform with --data-dir)", dataDir)
	}
	entries, err := os.ReadDir(filepath.Join(dataDir, "modules"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the modules' data: %w (fix: run as the user that owns the data directory)", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() || !storage.ValidModule(name) {
			continue
		}
		_, err := os.Lstat(storage.ModuleFile(dataDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for the data of module %s: %w", name, err)
		}
		modules = append(modules, name)
	}
	return modules, nil
}

// weigh is for showing progress only: sizes from before the first file is copied, as files of modules that run grow meanwhile.
func weigh(dataDir string, names []string) (weights []int64, total int64) {
	weights = make([]int64, len(names))
	for i, name := range names {
		if info, err := os.Lstat(filepath.Join(dataDir, name)); err == nil {
			weights[i] = info.Size()
			total += info.Size()
		}
	}
	return weights, total
}
