package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// Health is what Check found out about a database that can be used.
type Health struct {
	Name   string // as Storage.Name
	Detail string // more of it, for people
	// Connections is how many the server has for roles like the core's, all its users together; 0 = no limit.
	Connections int
	Findings    []Finding
}

// Check looks at the database as Open would find it, and changes nothing. Other daemons may be using it. An error means that Open
// would fail.
func Check(ctx context.Context, o Options) (Health, error) {
	o = o.withDefaults()
	if o.URL == "" {
		return checkFiles(o.DataDir)
	}
	at, err := parseAddress(o.URL.Reveal())
	if err != nil {
		return Health{}, err
	}
	o.MaxConns = 1
	s := &server{Options: o, address: at}
	if s.db, err = connect(ctx, o, at); err != nil {
		return Health{}, err
	}
	health, err := s.check(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", at, err)
	}
	return health, errors.Join(err, postgres.Close(s.db))
}

func (s *server) check(ctx context.Context) (Health, error) {
	if err := s.checkServer(ctx); err != nil {
		return Health{}, err
	}
	facts, err := s.facts(ctx)
	if err != nil {
		return Health{}, err
	}
	may := "may make roles"
	switch {
	case facts.Superuser:
		may = "is a superuser"
	case !facts.CreateRole:
		may = "may not make roles"
	}
	health := Health{
		Name:   s.name(),
		Detail: fmt.Sprintf("%s, %s; role %s %s", s.name(), s.address, facts.Role, may),
	}
	if health.Connections, err = s.connections(ctx); err != nil {
		return Health{}, err
	}
	ours, err := schemaIsOurs(s.db.WithContext(ctx), coreSchema)
	if err != nil {
		return Health{}, err
	}
	if !ours {
		health.Detail += "; empty: the first start prepares it"
		return health, nil
	}
	if err := s.db.WithContext(ctx).Model(&installation{}).Pluck("id", &s.installation).Error; err != nil {
		return Health{}, err
	}
	health.Findings, err = s.examine(ctx)
	return health, err
}

// connections is the tightest of the limits that hold for all sessions together.
func (s *server) connections(ctx context.Context) (limit int, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT least(current_setting('max_connections')::int - " +
		"current_setting('superuser_reserved_connections')::int, nullif(datconnlimit, -1)) " +
		"FROM pg_database WHERE datname = current_database()").Scan(&limit).Error
	return limit, err
}

// checkFiles looks at who else may read what lies below the data folder.
func checkFiles(dir string) (Health, error) {
	health := Health{Name: "sqlite", Detail: "sqlite, in the data dir"}
	core := filepath.Join(dir, "core.db")
	file, err := os.Open(core)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Health{}, fmt.Errorf("%w (fix: run the command as the user that runs platformd)", err)
	default:
		_ = file.Close() // nothing was read
	}
	modules := filepath.Join(dir, "modules")
	folders, err := filepath.Glob(filepath.Join(modules, "*"))
	if err != nil {
		return Health{}, fmt.Errorf("look for modules' databases: %w (fix: give data.dir a plainer name)", err)
	}
	paths := append([]string{core, core + "-wal", core + "-shm"}, folders...)
	for _, folder := range folders {
		name := filepath.Join(folder, filepath.Base(folder)+".db")
		paths = append(paths, name, name+"-wal", name+"-shm")
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			continue // what is not there, or not to be seen, nobody else sees
		}
		health.Findings = append(health.Findings, Finding{
			Name: "database files", Detail: fmt.Sprintf("%s has mode %o: other users can get at it", path, info.Mode().Perm()),
			Fix: "chmod go-rwx " + path,
		})
	}
	return health, nil
}
