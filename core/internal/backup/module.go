package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

// dumpSuffix ends the name of a module's dump.
const dumpSuffix = ".dump"

// Module writes one module's own database into a file, and makes sure that it can be read. file ends with the module's name, to
// which .db is added for an SQLite file, or .dump for what pg_restore reads. It returns the file's name, without its folder; ""
// if the module has no database.
func Module(ctx context.Context, o Options, s *storage.Storage, file string) (name string, err error) {
	module := filepath.Base(file)
	if o, err = o.prepared(); err != nil {
		return "", err
	}
	if s.Module(module).Driver == backend.SQLite {
		name, err = moduleFile(ctx, o, module, filepath.Dir(file))
	} else {
		name, err = moduleDump(ctx, o, s, file+dumpSuffix)
	}
	if err != nil {
		return "", fmt.Errorf("copy the database of module %s: %w", module, err)
	}
	return name, nil
}

func moduleFile(ctx context.Context, o Options, module, dir string) (name string, err error) {
	source := storage.ModuleFile(o.DataDir, module)
	if _, err := os.Lstat(source); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	name = module + ".db"
	tell := func(done, total int64) { o.tell(name, done, total) }
	if err := copyFile(ctx, source, filepath.Join(dir, name), copier{o, storage.OpenModuleFile, tell}); err != nil {
		return "", err
	}
	db, err := openCore(ctx, filepath.Join(dir, name), o.Log) // it is ours
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, sqlite.Close(db)) }()
	var said string
	if err := db.WithContext(ctx).Raw("PRAGMA quick_check(1)").Scan(&said).Error; err != nil {
		return "", err
	}
	if said != "ok" {
		return "", fmt.Errorf("the copy is not whole: %s (fix: see that the disk is well)", said)
	}
	return name, nil
}

// moduleDump looks for the schema first: to log in would make one.
func moduleDump(ctx context.Context, o Options, s *storage.Storage, file string) (string, error) {
	module := strings.TrimSuffix(filepath.Base(file), dumpSuffix)
	var facts struct {
		Server int
		There  bool
	}
	err := s.Core().WithContext(ctx).Raw("SELECT current_setting('server_version_num')::int / 10000 AS server, "+
		"EXISTS (SELECT FROM modules WHERE module = ?) AS there", module).Scan(&facts).Error
	if err != nil || !facts.There {
		return "", err
	}
	tools, err := findTools(ctx, o, facts.Server)
	if err != nil {
		return "", err
	}
	p := &place{Options: o, tools: tools, storage: s, temp: filepath.Dir(file)}
	err = p.as(ctx, module, func(env []string) error { return p.dump(ctx, env, file, []string{"--schema=" + module}) })
	if err == nil {
		err = program{tools.restore, toolEnv()}.run(ctx, io.Discard, "--list", file)
	}
	return filepath.Base(file), err
}
