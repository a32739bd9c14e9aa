package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// coreSchema is the schema of the core's tables.
const coreSchema = "platformd"

// passing bounds the questions that are answered at once.
const passing = 30 * time.Second

// found is what there is in a database before anything is done.
type found struct {
	Server int      // major version
	Tables []string // of ours
}

// look connects as platformd does, without making anything.
func look(ctx context.Context, o Options) (f found, err error) {
	ctx, cancel := context.WithTimeout(ctx, passing)
	defer cancel()
	db, err := storage.Connect(ctx, storage.Options{URL: o.Database.URL, Log: o.Log})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, postgres.Close(db)) }()
	db = db.WithContext(ctx)
	if err := db.Raw("SELECT current_setting('server_version_num')::int / 10000").Scan(&f.Server).Error; err != nil {
		return f, err
	}
	err = db.Raw("SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "+
		"WHERE nspname IN ? AND relkind IN ('r', 'p') ORDER BY 1", []string{coreSchema, postgres.LedgerSchema}).Scan(&f.Tables).Error
	return f, err
}

// place is the open database, and the programs that read and write it.
type place struct {
	Options
	tools
	storage *storage.Storage
	temp    string // for what programs must find in a file
}

// openPlace opens the database with the given folder as its daemon's: a backup must not take itself for a daemon that runs. The
// result must be closed.
func openPlace(ctx context.Context, o Options, dir string, t tools) (p *place, closing func() error, err error) {
	opened, err := storage.Open(ctx, storage.Options{
		DataDir: dir, URL: o.Database.URL, Isolation: o.Database.Isolation, Log: o.Log, MaxConns: 4,
	})
	if err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var renewing sync.WaitGroup
	renewing.Go(func() { opened.Run(running) })
	return &place{Options: o, tools: t, storage: opened, temp: dir}, func() error {
		stop()
		renewing.Wait()
		return opened.Close()
	}, nil
}

// stageDumps dumps each schema, all at the same moment of the database.
func stageDumps(ctx context.Context, o Options, c *contents, dir string) (err error) {
	before, err := look(ctx, o)
	if err != nil {
		return err
	}
	if !slices.Contains(before.Tables, coreSchema+".installation") {
		return errors.New("there is no platform's data in the database (fix: correct database.url)")
	}
	c.Server = before.Server
	tools, err := findTools(ctx, o, before.Server)
	if err != nil {
		return err
	}
	id := filepath.Join(dir, "daemon")
	p, closing, err := openPlace(ctx, o, id, tools)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing(), os.RemoveAll(id)) }()
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o700); err != nil {
		return err
	}
	return p.storage.Core().WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return p.dumpAll(ctx, tx, c, dir)
	}, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
}

// dumpAll dumps what tx sees, which must stay open for as long.
func (p *place) dumpAll(ctx context.Context, tx *gorm.DB, c *contents, dir string) error {
	var snapshot string
	if err := tx.Exec("SET LOCAL idle_in_transaction_session_timeout = 0").Error; err != nil {
		return err
	}
	if err := tx.Raw("SELECT pg_export_snapshot()").Scan(&snapshot).Error; err != nil {
		return err
	}
	if err := tx.Raw("SELECT module FROM modules ORDER BY module").Scan(&c.Modules).Error; err != nil {
		return err
	}
	core, err := environment(p.Database.URL.Reveal(), nil, p.temp)
	if err != nil {
		return err
	}
	arguments := map[string][]string{
		coreDump: {"--schema=" + coreSchema, "--exclude-table=" + coreSchema + ".installation",
			"--exclude-table=" + coreSchema + ".modules", "--exclude-table=" + coreSchema + ".logins",
			"--exclude-table=" + coreSchema + ".core_migrations", "--exclude-table-data=" + coreSchema + ".migration_locks"},
		ledgersDump: {"--data-only", "--table=" + coreSchema + ".core_migrations", "--table=" + postgres.LedgerSchema + ".*"},
	}
	total := int64(len(c.names()))
	for i, name := range []string{coreDump, ledgersDump} {
		p.tell(name, int64(i), total)
		if err := p.dump(ctx, core, filepath.Join(dir, name), append(arguments[name], "--snapshot="+snapshot)); err != nil {
			return fmt.Errorf("back up platformd's own data: %w", err)
		}
		p.reach("copied " + name)
	}
	for i, module := range c.Modules {
		p.tell(dumpOf(module), int64(i+2), total)
		if err := p.dumpModule(ctx, module, filepath.Join(dir, dumpOf(module)), snapshot); err != nil {
			return fmt.Errorf("back up module %s: %w", module, err)
		}
		p.reach("copied " + dumpOf(module))
	}
	p.tell("dumps", total, total)
	return nil
}

// dumpModule reads a module's schema as the module: what is in it may run when it is read.
func (p *place) dumpModule(ctx context.Context, module, file, snapshot string) error {
	return p.as(ctx, module, func(env []string) error {
		return p.dump(ctx, env, file, []string{"--schema=" + module, "--snapshot=" + snapshot})
	})
}

// as gives work the environment of a program that is the module, and may shape its tables.
func (p *place) as(ctx context.Context, module string, work func(env []string) error) (err error) {
	login, err := p.storage.Login(ctx, module, storage.Owner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, login.Close(context.WithoutCancel(ctx))) }()
	env, err := environment(login.Database.Source, login.Database.RootCertificates, p.temp)
	if err != nil {
		return err
	}
	return work(env)
}

func (p *place) dump(ctx context.Context, env []string, file string, arguments []string) error {
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = program{p.tools.dump, env}.run(ctx, out, append(arguments, "--format=custom", "--no-password")...)
	return errors.Join(err, out.Close())
}
