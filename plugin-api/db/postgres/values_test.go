package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/postgres"
)

// What people wrote must not get into a log by way of an error.
func TestErrorsShowNoValues(t *testing.T) {
	t.Parallel()
	db := fresh(t, postgres.Options{})
	for name, run := range map[string]func(*gorm.DB) error{
		"a text that is no number": func(db *gorm.DB) error {
			return db.Exec("SELECT CAST(? AS text)::int", "secret-4711").Error
		},
		"a text that is no time": func(db *gorm.DB) error { return db.Exec("SELECT 'secret-4711'::timestamptz").Error },
		"another type":           func(db *gorm.DB) error { return db.Exec("SELECT ?::int", "secret-4711").Error },
	} {
		err := run(db)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "4711", name)
	}
}
