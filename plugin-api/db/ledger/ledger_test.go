package ledger_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
)

func database(t *testing.T) *gorm.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sqlite.Close(db)) })
	return db
}

func TestReadWithoutALedger(t *testing.T) {
	t.Parallel()
	rows, err := ledger.Read(database(t), ledger.Table)
	require.NoError(t, err)
	require.Empty(t, rows)
}

func TestRowsComeBackInOrder(t *testing.T) {
	t.Parallel()
	db := database(t)
	require.NoError(t, ledger.Ensure(db, ledger.Table))
	require.NoError(t, ledger.Ensure(db, ledger.Table), "twice is once")
	at := time.Date(2026, 5, 1, 12, 0, 0, 1000, time.UTC)
	for _, row := range []ledger.Row{
		{Position: 2, ID: "a_second", AppliedAt: at, Statements: []string{}},
		{Position: 1, ID: "z_first", AppliedAt: at, DurationMS: 7, Statements: []string{"CREATE TABLE x (n integer)"}},
	} {
		require.NoError(t, db.Table(ledger.Table).Create(&row).Error)
	}

	rows, err := ledger.Read(db, ledger.Table)
	require.NoError(t, err)
	require.Equal(t, []ledger.Row{
		{Position: 1, ID: "z_first", AppliedAt: at, DurationMS: 7}, {Position: 2, ID: "a_second", AppliedAt: at},
	}, rows)
	require.Equal(t, []string{"z_first", "a_second"}, ledger.IDs(rows))

	statements, err := ledger.Statements(db, ledger.Table, "z_first")
	require.NoError(t, err)
	require.Equal(t, []string{"CREATE TABLE x (n integer)"}, statements)
	_, err = ledger.Statements(db, ledger.Table, "none")
	require.ErrorIs(t, err, gorm.ErrRecordNotFound)
}

func TestAnIDIsAppliedOnce(t *testing.T) {
	t.Parallel()
	db := database(t)
	require.NoError(t, ledger.Ensure(db, ledger.Table))
	require.NoError(t, db.Table(ledger.Table).Create(&ledger.Row{Position: 1, ID: "a", Statements: []string{}}).Error)
	again := db.Table(ledger.Table).Create(&ledger.Row{Position: 2, ID: "a", Statements: []string{}})
	require.ErrorIs(t, again.Error, gorm.ErrDuplicatedKey)
}

// An error must not pass for an empty ledger: every migration would run again.
func TestAFailureIsNotAnEmptyLedger(t *testing.T) {
	t.Parallel()
	db := database(t)
	sqlDB, err := db.DB()
	require.NoError(t, err)
	require.NoError(t, sqlDB.Close())
	_, err = ledger.Read(db, ledger.Table)
	require.ErrorContains(t, err, "closed")
	require.ErrorContains(t, ledger.Ensure(db, ledger.Table), "closed")
}

// A module's file is the module's to write; the core is not hurt by what it finds there.
func TestATamperedLedgerIsRefused(t *testing.T) {
	t.Parallel()
	const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10001) "
	for name, test := range map[string]struct{ rows, says string }{
		"too many rows": {numbers + "SELECT i, 'm' || i, '2026-01-01 00:00:00', 0, '[]' FROM n", "over 10000 rows"},
		"bad times":     {numbers + "SELECT i, 'm' || i, i, 0, '[]' FROM n", "Scan error"},
		"long id":       {"SELECT 1, hex(zeroblob(1000000)), '2026-01-01 00:00:00', 0, '[]'", "no migration wrote"},
		"strange id":    {"SELECT 1, 'a' || char(27), '2026-01-01 00:00:00', 0, '[]'", `id "a\x1b"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := database(t)
			require.NoError(t, ledger.Ensure(db, ledger.Table))
			insert := "INSERT INTO platformd_migrations (position, id, applied_at, duration_ms, statements) "
			require.NoError(t, db.Exec(insert+test.rows).Error)
			_, err := ledger.Read(db, ledger.Table)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
			require.Less(t, len(err.Error()), 1000)
		})
	}
}
