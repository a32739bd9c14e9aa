package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// Naming returns the tokens that name permissions of a module, expired and revoked ones too, the newest first.
func (s *Service) Naming(ctx context.Context, module string) ([]Token, error) {
	all, err := s.List(ctx, "")
	return slices.DeleteFunc(all, func(t Token) bool {
		return len(without(t.Permissions, module)) == len(t.Permissions)
	}), err
}

// PurgeModule takes the permissions of a module from all tokens. One that had no others is deleted: it can do nothing any more.
func (s *Service) PurgeModule(ctx context.Context, module string) error {
	tokens, err := s.Naming(ctx, module)
	if err != nil {
		return err
	}
	err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, t := range tokens {
			rest := without(t.Permissions, module)
			if len(rest) == 0 {
				err = tx.Delete(&row{}, "id = ?", t.ID).Error
			} else {
				err = tx.Model(&row{}).Where("id = ?", t.ID).Select("Permissions").Updates(&row{Permissions: rest}).Error
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, t := range tokens {
		s.cache.forgetSession(t.ID) // even after an error: the change may have been made
	}
	if err != nil {
		return fmt.Errorf("take the permissions of module %s from tokens: %w", module, err)
	}
	return nil
}

// without leaves out the patterns that cover nothing but a module's permissions.
func without(patterns []string, module string) []string {
	return slices.DeleteFunc(slices.Clone(patterns), func(p string) bool { return strings.HasPrefix(p, module+".") })
}
