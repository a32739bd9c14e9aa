package storage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"
)

// installation is the one row that tells this database's roles from those of others on the same server.
type installation struct {
	ID        string    `gorm:"primaryKey;size:8"`
	CreatedAt time.Time `gorm:"not null"`
}

// TableName implements gorm's schema.Tabler.
func (installation) TableName() string { return "installation" }

// provision is a module whose schema the core made.
type provision struct {
	Module    string    `gorm:"primaryKey;size:41"`
	CreatedAt time.Time `gorm:"not null"`
}

// TableName implements gorm's schema.Tabler.
func (provision) TableName() string { return "modules" }

// loginRow is a role that some daemon made for one process.
type loginRow struct {
	Role      string    `gorm:"primaryKey;size:63"`
	Module    string    `gorm:"size:41;not null"`
	Access    string    `gorm:"size:8;not null"`
	Daemon    string    `gorm:"size:16;not null;index"`
	ExpiresAt time.Time `gorm:"not null"`
}

// TableName implements gorm's schema.Tabler.
func (loginRow) TableName() string { return "logins" }

// raceRetries bounds how often what another daemon has just made is tried again.
const raceRetries = 20

// bootstrap makes the core's part of the database and looks at how well modules will be kept in theirs.
func (s *server) bootstrap(ctx context.Context) error {
	if err := s.checkServer(ctx); err != nil {
		return err
	}
	if err := s.retryRaces(ctx, s.makeSchemas); err != nil {
		return err
	}
	if err := s.makeTables(ctx); err != nil {
		return err
	}
	if s.Isolation == IsolationRole {
		if err := s.closeDatabase(ctx); err != nil {
			return err
		}
	}
	found, err := s.examine(ctx)
	if err != nil {
		return err
	}
	s.found = found
	return s.sweepOwn(ctx)
}

// checkServer refuses a server that is too old, and a role that lacks what the isolation needs.
func (s *server) checkServer(ctx context.Context) error {
	facts, err := s.facts(ctx)
	if err != nil {
		return err
	}
	s.version = facts.Version
	switch {
	case facts.Number < oldestServer:
		return fmt.Errorf("the server is PostgreSQL %s, which is too old (fix: use 13 or newer)", facts.Version)
	case s.Isolation == IsolationRole && !facts.Superuser && !facts.CreateRole:
		return fmt.Errorf("role %s may not create roles, by which modules are kept apart (fix: ALTER ROLE %s CREATEROLE, "+
			"or set database.isolation: schema, under which every module could use the data of all others)", facts.Role, ident(facts.Role))
	}
	return nil
}

// facts are what the server says of itself and of the core's role.
type facts struct {
	Version               string
	Number                int
	Role                  string
	Superuser, CreateRole bool
}

func (s *server) facts(ctx context.Context) (f facts, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT split_part(current_setting('server_version'), ' ', 1) AS version, " +
		"current_setting('server_version_num')::int AS number, rolname AS role, rolsuper AS superuser, rolcreaterole AS create_role " +
		"FROM pg_roles WHERE rolname = current_user").Scan(&f).Error
	return f, err
}

// retryRaces tries again what failed because another daemon did the same at the same moment.
func (s *server) retryRaces(ctx context.Context, work func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := work(ctx)
		if err == nil || !isRace(err) || attempt == raceRetries {
			return err
		}
		pause := time.Duration(attempt) * 5 * time.Millisecond
		if err := wait(ctx, pause+rand.N(pause)); err != nil { // not in step with the other
			return err
		}
	}
}

// makeSchemas makes what the rest is serialized by. Each statement stands for itself: one that is too late changes nothing.
func (s *server) makeSchemas(ctx context.Context) error {
	db := s.quiet.WithContext(ctx)
	for _, schema := range []string{coreSchema, ledgerSchema} {
		ours, err := schemaIsOurs(db, schema)
		if err != nil {
			return err
		}
		if ours {
			continue
		}
		if err := db.Exec("CREATE SCHEMA " + ident(schema)).Error; err != nil {
			return mayNotCreate(err)
		}
	}
	if db.Migrator().HasTable(&installation{}) {
		return nil
	}
	return db.Migrator().CreateTable(&installation{})
}

func mayNotCreate(err error) error {
	if sqlState(err) != stateDenied {
		return err
	}
	return fmt.Errorf("%w (fix: make platformd's role the owner of the database)", err)
}

// schemaIsOurs reports whether the schema is there. One of another owner is an error: what is in it would be trusted.
func schemaIsOurs(db *gorm.DB, schema string) (bool, error) {
	var owners []string
	err := db.Raw("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = ? "+
		"AND NOT pg_has_role(current_user, nspowner, 'USAGE')", schema).Scan(&owners).Error
	if err != nil {
		return false, err
	}
	if len(owners) > 0 {
		return false, fmt.Errorf("schema %s belongs to role %s (fix: rename it, give it to platformd's role, or use another database)",
			schema, owners[0])
	}
	var there bool
	return there, db.Raw("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = ?)", schema).Scan(&there).Error
}

// makeTables makes the core's tables and chooses the installation's id, one daemon after the other.
func (s *server) makeTables(ctx context.Context) error {
	return s.transaction(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("LOCK TABLE installation IN EXCLUSIVE MODE").Error; err != nil {
			return err
		}
		for _, table := range []any{&provision{}, &loginRow{}, &coreMigration{}} {
			if tx.Migrator().HasTable(table) {
				continue
			}
			if err := tx.Migrator().CreateTable(table); err != nil {
				return err
			}
		}
		id, err := theInstallation(tx)
		s.names = names{installation: id}
		return err
	})
}

func theInstallation(tx *gorm.DB) (string, error) {
	var row installation
	err := tx.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		row = installation{ID: randomHex(4), CreatedAt: tx.NowFunc()}
		err = tx.Create(&row).Error
	}
	return row.ID, err
}
