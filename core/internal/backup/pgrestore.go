package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// restoreDumps fills an empty database.
func restoreDumps(ctx context.Context, r restoring) (aside string, err error) {
	before, err := look(ctx, r.Options)
	if err != nil {
		return "", err
	}
	const fix = "(fix: restore into a new database: create one and name it in database.url)"
	switch {
	case len(before.Tables) > 0 && r.replace:
		return "", errors.New("--replace is for sqlite; in the database there is data that would be lost " + fix)
	case len(before.Tables) > 0:
		return "", fmt.Errorf("there is data in the database already, such as table %s %s", before.Tables[0], fix)
	case before.Server < r.archive.Server:
		return "", fmt.Errorf("the backup is of PostgreSQL %d, and the server is PostgreSQL %d, which need not understand it "+
			"(fix: restore it on PostgreSQL %d or newer)", r.archive.Server, before.Server, r.archive.Server)
	}
	if err := r.noSchemas(ctx); err != nil {
		return "", err
	}
	tools, err := findTools(ctx, r.Options, before.Server)
	if err != nil {
		return "", err
	}
	if err := r.checkDumps(ctx, tools); err != nil {
		return "", err
	}
	r.reach("checked")
	if err := r.load(ctx, tools); err != nil {
		return "", fmt.Errorf("%w; the database is filled in part only (fix: when the cause is gone, drop it and create it anew, "+
			"and restore again)", withoutFix(err))
	}
	return "", nil
}

// withoutFix leaves the last word to another advice.
func withoutFix(err error) error {
	what, _, _ := strings.Cut(err.Error(), " (fix: ")
	return &shortened{what, err}
}

// shortened is an error with another text.
type shortened struct {
	text string
	error
}

// Error implements error.
func (s *shortened) Error() string { return s.text }

// Unwrap serves errors.Is and errors.As.
func (s *shortened) Unwrap() error { return s.error }

// noSchemas refuses a database in which a module's schema would meet another one.
func (r restoring) noSchemas(ctx context.Context) (err error) {
	if len(r.archive.Modules) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, passing)
	defer cancel()
	db, err := storage.Connect(ctx, storage.Options{URL: r.Database.URL, Log: r.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, postgres.Close(db)) }()
	var there []string
	err = db.WithContext(ctx).Raw("SELECT nspname FROM pg_namespace WHERE nspname IN ? ORDER BY 1", r.archive.Modules).
		Scan(&there).Error
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("there is a schema %s in the database already (fix: restore into a new database)", there[0])
	}
	return nil
}

// checkDumps makes sure that the programs at hand can read every dump.
func (r restoring) checkDumps(ctx context.Context, t tools) error {
	err := r.archive.unpack(ctx, r.stage, func(done, total int64) { r.tell("checking", done, total) })
	if err != nil {
		return err
	}
	list := program{t.restore, toolEnv()}
	for _, name := range r.archive.names() {
		if err := list.run(ctx, io.Discard, "--list", filepath.Join(r.stage, name)); err != nil {
			return r.archive.refuse(fmt.Errorf("%s: %w", name, err))
		}
	}
	return nil
}

// load restores modules first and the core's ledger last: of a database that is filled in part no daemon makes use.
func (r restoring) load(ctx context.Context, t tools) (err error) {
	p, closing, err := openPlace(ctx, r.Options, r.DataDir, t)
	if err != nil {
		return err
	}
	p.temp = r.stage
	defer func() { err = errors.Join(err, closing()) }()
	total := int64(len(r.archive.names()))
	for i, module := range r.archive.Modules {
		r.tell(dumpOf(module), int64(i), total)
		err := p.as(ctx, module, func(env []string) error {
			return p.restoreDump(ctx, env, filepath.Join(r.stage, dumpOf(module)), "--schema="+module)
		})
		if err != nil {
			return fmt.Errorf("restore module %s: %w", module, err)
		}
		r.reach("restored " + module)
	}
	core, err := environment(r.Database.URL.Reveal(), nil, r.stage)
	if err != nil {
		return err
	}
	for i, dump := range [][]string{{coreDump, "--schema=" + coreSchema}, {ledgersDump, "--data-only"}} {
		r.tell(dump[0], total-2+int64(i), total)
		if err := p.restoreDump(ctx, core, filepath.Join(r.stage, dump[0]), dump[1]); err != nil {
			return fmt.Errorf("restore platformd's own data: %w", err)
		}
		r.reach("restored " + dump[0])
	}
	r.tell("restored", total, total)
	return nil
}

// restoreDump restores all of a dump or nothing. Whose it was is left out: what a role makes is its own, and who may use it was
// settled when its schema was made.
func (p *place) restoreDump(ctx context.Context, env []string, file, only string) error {
	return program{p.restore, env}.run(ctx, io.Discard, "--dbname="+databaseOf(env), "--no-password", "--no-owner", "--no-acl",
		"--exit-on-error", "--single-transaction", only, file)
}
