package storage

import (
	"context"
	"errors"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// inspect reads the server's catalog alone, and counts no rows.
func (s *server) inspect(ctx context.Context, module string) (parts []Part, err error) {
	db := s.db.WithContext(ctx)
	if ours, err := s.provided(db, module); err != nil || !ours {
		return nil, err
	}
	var schema, tables, ledger, roles []Part
	err = errors.Join(
		db.Raw("SELECT 'schema' AS kind, nspname AS name FROM pg_namespace WHERE nspname = ?", module).Scan(&schema).Error,
		db.Raw("SELECT 'table' AS kind, c.relname AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_class c "+
			"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relkind IN ('r', 'p') ORDER BY 2", module).
			Scan(&tables).Error,
		db.Raw("SELECT 'role' AS kind, rolname AS name FROM pg_roles WHERE rolname IN ? ORDER BY 2", s.groups(module)).
			Scan(&roles).Error,
		db.Raw("SELECT 'migrations' AS kind, ? AS name FROM pg_class WHERE oid = to_regclass(?)", ledgerOf(module), ledgerOf(module)).
			Scan(&ledger).Error)
	if len(ledger) > 0 {
		count(db, ledgerOf(module), &ledger[0]) // the core's own
	}
	return slices.Concat(schema, tables, ledger, roles), err
}

// groups are the roles of a module that outlast its processes.
func (s *server) groups(module string) []string {
	return []string{s.group(module, Owner), s.group(module, ReadWrite)}
}

// provided tells whether the schema of that name was made by the core: no other is a module's.
func (s *server) provided(db *gorm.DB, module string) (bool, error) {
	if err := checkSchemaName(module); err != nil {
		return false, err
	}
	var rows int64
	err := db.Model(&provision{}).Where("module = ?", module).Count(&rows).Error
	return rows > 0, err
}

func (s *server) remove(ctx context.Context, module string) error {
	if err := s.retireModule(ctx, module); err != nil {
		return err
	}
	err := s.transaction(ctx, func(tx *gorm.DB) error { return s.dropModule(tx, module) })
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.provisioned, module) // even after an error: an answer can be lost
	return err
}

// retireModule takes back the logins of a module that no other daemon uses.
func (s *server) retireModule(ctx context.Context, module string) error {
	var used []time.Time
	var rows []loginRow
	db := s.db.WithContext(ctx)
	err := db.Model(&loginRow{}).Where("module = ? AND daemon <> ? AND expires_at > clock_timestamp()", module, s.daemon).
		Order("expires_at DESC").Limit(1).Pluck("expires_at", &used).Error
	switch {
	case err != nil:
		return err
	case len(used) > 0:
		return &InUseError{Module: module, Until: used[0]}
	}
	if err := db.Find(&rows, "module = ?", module).Error; err != nil {
		return err
	}
	if err := s.retire(ctx, rows); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		delete(s.live, row.Role)
	}
	s.released = slices.DeleteFunc(s.released, func(made *session) bool { return made.module == module })
	return nil
}

// dropModule drops what provision made, and what has come into it. A schema that the core did not make is not touched.
func (s *server) dropModule(tx *gorm.DB, module string) error {
	var rows []provision // kept from a daemon that provides the same module
	if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Find(&rows, "module = ?", module).Error; err != nil || len(rows) == 0 {
		return err
	}
	if _, err := schemaIsOurs(tx, module); err != nil {
		return err
	}
	if err := execute(tx, "DROP SCHEMA IF EXISTS "+ident(module)+" CASCADE", "DROP TABLE IF EXISTS "+ledgerOf(module)); err != nil {
		return err
	}
	for _, group := range s.groups(module) {
		there, err := roleExists(tx, group)
		if err == nil && there {
			err = execute(tx, "DROP OWNED BY "+ident(group)+" CASCADE", "DROP ROLE "+ident(group))
		}
		if err != nil {
			return err
		}
	}
	return tx.Delete(&provision{}, "module = ?", module).Error
}
