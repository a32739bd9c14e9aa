package storage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// end takes sessions back: nobody can log in any more, whoever has is thrown out, and the roles go.
func (s *server) end(ctx context.Context, sessions []*session) error {
	rows := make([]loginRow, len(sessions))
	for i, session := range sessions {
		rows[i] = loginRow{Role: session.role, Module: session.module}
	}
	err := s.retire(ctx, rows)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range sessions {
		delete(s.live, session.role)
	}
	return nil
}

// retire takes back logins, of whichever daemon.
func (s *server) retire(ctx context.Context, rows []loginRow) error {
	if len(rows) == 0 {
		return nil
	}
	if err := s.transaction(ctx, func(tx *gorm.DB) error { return lockOut(tx, rows) }); err != nil {
		return err
	}
	if err := s.throwOut(ctx, rows); err != nil {
		return err
	}
	if s.transaction(ctx, func(tx *gorm.DB) error { return s.drop(tx, rows) }) == nil {
		return nil
	}
	var problems []error // one of them is in the way of the rest
	for _, row := range rows {
		err := s.transaction(ctx, func(tx *gorm.DB) error { return s.drop(tx, []loginRow{row}) })
		if err != nil {
			problems = append(problems, fmt.Errorf("drop role %s: %w", row.Role, err))
		}
	}
	return errors.Join(problems...)
}

// lockOut lets nobody log in any more.
func lockOut(tx *gorm.DB, rows []loginRow) error {
	for _, row := range rows {
		exists, err := roleExists(tx, row.Role)
		if err != nil {
			return err
		}
		if !exists {
			continue
		}
		if err := tx.Exec("ALTER ROLE " + ident(row.Role) + " NOLOGIN CONNECTION LIMIT 0").Error; err != nil {
			return err
		}
	}
	return nil
}

func roleExists(tx *gorm.DB, name string) (exists bool, err error) {
	return exists, tx.Raw("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = ?)", name).Scan(&exists).Error
}

// throwOut ends sessions until there are none: one may have been let in a moment ago.
func (s *server) throwOut(ctx context.Context, rows []loginRow) error {
	roles := make([]string, len(rows))
	for i, row := range rows {
		roles[i] = row.Role
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		var left int
		err := s.quiet.WithContext(ctx).Raw("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename IN ?", roles).
			Scan(&left).Error
		if err != nil || left == 0 {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return fmt.Errorf("%d sessions do not end: %w", left, err)
		}
	}
}

// drop drops the roles. What a process made under its own name instead of its group's becomes its module's.
func (s *server) drop(tx *gorm.DB, rows []loginRow) error {
	for _, row := range rows {
		var still []loginRow // two daemons may clean up after a third
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Find(&still, "role = ?", row.Role).Error
		if err != nil {
			return err
		}
		exists, err := roleExists(tx, row.Role)
		if err != nil {
			return err
		}
		if exists {
			role := ident(row.Role)
			err := execute(tx, "REASSIGN OWNED BY "+role+" TO "+ident(s.group(row.Module, Owner)),
				"DROP OWNED BY "+role, "DROP ROLE "+role)
			if err != nil {
				return err
			}
		}
		if err := tx.Delete(&loginRow{}, "role = ?", row.Role).Error; err != nil {
			return err
		}
	}
	return nil
}
