package storage

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// provide makes the place of a module's data, if this process has not seen it yet.
func (s *server) provide(ctx context.Context, module string) error {
	if err := checkSchemaName(module); err != nil {
		return err
	}
	s.mu.Lock()
	done := s.provisioned[module]
	s.mu.Unlock()
	if done {
		var there int64 // another daemon may have removed it
		err := s.db.WithContext(ctx).Model(&provision{}).Where("module = ?", module).Count(&there).Error
		if err != nil || there > 0 {
			return err
		}
	}
	if err := s.transaction(ctx, func(tx *gorm.DB) error { return s.provision(tx, module) }); err != nil {
		return fmt.Errorf("make the module's schema: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.provisioned[module] = true
	return nil
}

// provision makes what is missing. Daemons do it one after the other for one module, and side by side for several: a module
// that holds up what concerns itself must not hold up others.
func (s *server) provision(tx *gorm.DB, module string) error {
	first := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&provision{Module: module, CreatedAt: tx.NowFunc()})
	if first.Error != nil {
		return first.Error
	}
	var row provision
	if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Take(&row, "module = ?", module).Error; err != nil {
		return err
	}
	exists, err := schemaIsOurs(tx, module)
	if err != nil {
		return err
	}
	if exists && first.RowsAffected > 0 {
		return fmt.Errorf("schema %s exists and was not made by platformd (fix: rename it, or use another database)", module)
	}
	place := postgres.Place{Schema: module}
	if s.Isolation == IsolationRole {
		place.Owner, place.ReadWrite = s.group(module, Owner), s.group(module, ReadWrite)
		for _, group := range []string{place.Owner, place.ReadWrite} {
			if err := makeGroup(tx, group, s.modules()); err != nil {
				return err
			}
		}
	}
	return mayNotCreate(postgres.Provision(tx, place))
}
