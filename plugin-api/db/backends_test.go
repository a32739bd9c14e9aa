package db_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/postgres"
	"github.com/platformd/platformd/plugin-api/plugintest"
	"github.com/platformd/platformd/plugin-api/problem"
)

// thing is a live model with what backends treat differently.
type thing struct {
	ID      string `gorm:"primaryKey;size:36"`
	Name    string
	Count   int
	Made    time.Time
	OwnerID *string
}

// TableName implements gorm's schema.Tabler.
func (thing) TableName() string { return "blog_things" }

var things = db.Migration{
	ID: "0001_things",
	Up: func(tx *gorm.DB) error {
		type Thing struct {
			ID      string `gorm:"primaryKey;size:36"`
			Name    string `gorm:"uniqueIndex"`
			Count   int    `gorm:"check:count >= 0"`
			Made    time.Time
			OwnerID *string `gorm:"size:36"`
			Owner   *Thing
		}
		return tx.Migrator().CreateTable(&Thing{})
	},
	Down: func(tx *gorm.DB) error { return tx.Migrator().DropTable("blog_things") },
}

// at is the ledger's ids, read as a migration would.
func at(t *testing.T, database pluginapi.Database) []string {
	t.Helper()
	table := database.Ledger
	if table == "" {
		table = ledger.Table
	}
	rows, err := ledger.Read(open(t, database), table)
	require.NoError(t, err)
	return ledger.IDs(rows)
}

func run(t *testing.T, d *plugintest.Database, m *pluginapi.Migrations, step pluginapi.Step) ([]string, error) {
	t.Helper()
	return m.Run(t.Context(), d.Migrations, step)
}

func TestStepsOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		m := db.Migrations(things, step("0002_seed", "INSERT INTO blog_things (id, name) VALUES ('1', 'a')"))
		for _, id := range m.IDs {
			statements, err := run(t, d, m, pluginapi.Step{ID: id})
			require.NoError(t, err)
			require.NotEmpty(t, statements)
		}
		require.Equal(t, m.IDs, at(t, d.Migrations))
		again, err := run(t, d, m, pluginapi.Step{ID: "0002_seed"})
		require.NoError(t, err)
		require.Equal(t, []string{"INSERT INTO blog_things (id, name) VALUES ('1', 'a')"}, again, "once is for ever")
		_, err = run(t, d, m, pluginapi.Step{ID: "0001_things", Down: true})
		require.ErrorContains(t, err, "not the last one")
		_, err = run(t, d, m, pluginapi.Step{ID: "0002_seed", Down: true})
		require.ErrorContains(t, err, "has no Down")
	})
}

func TestDownOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		m := db.Migrations(things)
		for range 2 {
			_, err := run(t, d, m, pluginapi.Step{ID: "0001_things"})
			require.NoError(t, err)
			_, err = run(t, d, m, pluginapi.Step{ID: "0001_things", Down: true})
			require.NoError(t, err)
			require.Empty(t, at(t, d.Migrations))
		}
	})
}

func TestAFailedStepLeavesNothingOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		for name, broken := range map[string]db.Migration{
			"syntax": step("0002_broken", "CREATE TABLE blog_a (n integer)", "INSERT INTO blog_things (id) VALUES ('x')",
				"CREATE TABEL blog_b", "CREATE TABLE blog_c (n integer)", "DROP TABLE blog_things"),
			"commit":            step("0002_broken", "CREATE TABLE blog_a (n integer)", "COMMIT"),
			"commit, in a tail": step("0002_broken", "CREATE TABLE blog_a (n integer); COMMIT; SELECT 1"),
			"start":             step("0002_broken", "ROLLBACK", "CREATE TABLE blog_a (n integer)"),
		} {
			m := db.Migrations(things, broken)
			_, err := run(t, d, m, pluginapi.Step{ID: "0001_things"})
			require.NoError(t, err, name)
			_, err = run(t, d, m, pluginapi.Step{ID: "0002_broken"})
			require.Error(t, err, name)
			require.Equal(t, []string{"0001_things"}, at(t, d.Migrations), name)
			require.Error(t, open(t, d.Migrations).Exec("SELECT * FROM blog_a").Error, name)
			var rows int64
			require.NoError(t, open(t, d.Work).Model(&thing{}).Count(&rows).Error)
			require.Zero(t, rows, name)
		}
	})
}

func TestManyRunAtOnceOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		m := db.Migrations(things, step("0002_seed", "INSERT INTO blog_things (id, name) VALUES ('1', 'a')"))
		var all sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			all.Go(func() {
				for _, id := range m.IDs {
					_, err := m.Run(t.Context(), d.Migrations, pluginapi.Step{ID: id})
					errs[i] = errors.Join(errs[i], err)
				}
			})
		}
		all.Wait()
		require.NoError(t, errors.Join(errs...))
		require.Equal(t, m.IDs, at(t, d.Migrations))
	})
}

func TestOutsideOfATransactionOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		cause := errors.New("not today")
		index := db.Migration{ID: "0002_index", NoTransaction: true, Up: func(tx *gorm.DB) error {
			concurrently := ""
			if tx.Name() == "postgres" {
				concurrently = "CONCURRENTLY"
			}
			if err := tx.Exec("CREATE INDEX " + concurrently + " IF NOT EXISTS blog_made ON blog_things (made)").Error; err != nil {
				return err
			}
			return cause
		}}
		m := db.Migrations(things, index)
		_, err := run(t, d, m, pluginapi.Step{ID: "0001_things"})
		require.NoError(t, err)
		_, err = run(t, d, m, pluginapi.Step{ID: "0002_index"})
		require.ErrorIs(t, err, cause)
		table := d.Migrations.Ledger
		if table == "" {
			table = ledger.Table
		}
		rows, err := ledger.Read(open(t, d.Migrations), table)
		require.NoError(t, err)
		require.True(t, rows[1].Unfinished, "it is known to have begun")

		cause = nil
		_, err = run(t, d, m, pluginapi.Step{ID: "0002_index"})
		require.NoError(t, err)
		rows, err = ledger.Read(open(t, d.Migrations), table)
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.False(t, rows[1].Unfinished)
		kept, err := ledger.Statements(open(t, d.Migrations), table, "0002_index")
		require.NoError(t, err)
		require.Len(t, kept, 1)
	})
}

func TestADryRunWritesNothingOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		m := db.Migrations(things, step("0002_rest", "INSERT INTO blog_things (id, name) VALUES ('1', 'a')"),
			db.Migration{ID: "0003_unforeseen", Up: func(tx *gorm.DB) error {
				var n int
				if err := tx.Exec("CREATE TABLE blog_later (n integer)").Error; err != nil {
					return err
				}
				return tx.Raw("SELECT count(*) FROM blog_later").Scan(&n).Error
			}})
		for id, last := range map[string]string{
			"0001_things":     "blog_things",
			"0002_rest":       "INSERT INTO blog_things (id, name) VALUES ('1', 'a')",
			"0003_unforeseen": "-- the rest cannot be foreseen: ",
		} {
			foreseen, err := run(t, d, m, pluginapi.Step{ID: id, DryRun: true})
			require.NoError(t, err)
			require.Contains(t, foreseen[len(foreseen)-1], last)
		}
		require.Error(t, open(t, d.Migrations).Exec("SELECT * FROM blog_things").Error, "nothing was made")
		require.Empty(t, at(t, d.Migrations))
		statements, err := run(t, d, m, pluginapi.Step{ID: "0001_things"})
		require.NoError(t, err)
		require.NotEmpty(t, statements)
	})
}

func TestAModuleAtWorkOnEachBackend(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		_, err := run(t, d, db.Migrations(things), pluginapi.Step{ID: "0001_things"})
		require.NoError(t, err)
		gdb := open(t, d.Work)
		made := gdb.NowFunc()
		require.NoError(t, gdb.Create(&thing{ID: "1", Name: "a", Made: made}).Error)
		var read thing
		require.NoError(t, gdb.Take(&read, "id = ?", "1").Error)
		require.Equal(t, made, read.Made, "to the microsecond, and in UTC")
		require.NoError(t, db.Health(t.Context(), gdb))

		nobody := "nobody"
		for status, err := range map[int]error{
			http.StatusNotFound:           gdb.Take(&read, "id = ?", "2").Error,
			http.StatusConflict:           gdb.Create(&thing{ID: "2", Name: "a"}).Error,
			http.StatusPreconditionFailed: gdb.Create(&thing{ID: "3", Name: "c", OwnerID: &nobody}).Error,
			http.StatusBadRequest:         gdb.Create(&thing{ID: "4", Name: "d", Count: -1}).Error,
		} {
			answer, public := problem.FromError(err)
			require.True(t, public, "%v", err)
			require.Equal(t, status, answer.Status, "%v", err)
			require.NotContains(t, answer.Detail, "blog_things")
		}
		answer, public := problem.FromError(gdb.Exec("SELECT * FROM nowhere").Error)
		require.False(t, public, "%v", answer)
	})
}

func TestHealthNamesADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		gdb := open(t, d.Work)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorContains(t, db.Health(ended, gdb), "the database does not answer")
		require.NoError(t, db.Health(t.Context(), nil))
	})
}

// PostgreSQL refuses values that SQLite takes. That is a mistake of whoever sent them, unless the module checks before.
func TestValuesThatPostgreSQLCannotHold(t *testing.T) {
	t.Parallel()
	d := dbtest.PostgreSQL(t, "blog")
	_, err := run(t, d, db.Migrations(things), pluginapi.Step{ID: "0001_things"})
	require.NoError(t, err)
	gdb := open(t, d.Work)
	for name, err := range map[string]error{
		"too long":    gdb.Create(&thing{ID: strings.Repeat("x", 37), Name: "a"}).Error,
		"a zero byte": gdb.Create(&thing{ID: "1", Name: "a\x00b"}).Error,
		"no UTF-8":    gdb.Take(&thing{}, "id = ?", "\xff").Error,
		"too large":   gdb.Exec("SELECT CAST(CAST(? AS bigint) AS smallint)", 99_999).Error,
	} {
		answer, public := problem.FromError(err)
		require.ErrorIs(t, err, postgres.ErrValue, name)
		require.True(t, public, name)
		require.Equal(t, http.StatusBadRequest, answer.Status, name)
	}
}

// On PostgreSQL the module at work has no right to the shape of its tables.
func TestAtWorkNoTableIsChanged(t *testing.T) {
	t.Parallel()
	d := dbtest.PostgreSQL(t, "blog")
	_, err := run(t, d, db.Migrations(things), pluginapi.Step{ID: "0001_things"})
	require.NoError(t, err)
	gdb := open(t, d.Work)
	for _, statement := range []string{
		"CREATE TABLE blog_more (n integer)", "DROP TABLE blog_things", "ALTER TABLE blog_things ADD COLUMN n integer",
		"TRUNCATE blog_things", "SELECT * FROM platformd_ledgers.blog", "CREATE SCHEMA more", "CREATE TABLE public.more (n integer)",
	} {
		require.Error(t, gdb.Exec(statement).Error, statement)
	}
	owner := open(t, d.Migrations)
	for _, statement := range []string{
		"DROP TABLE platformd_ledgers.blog", "DROP SCHEMA blog CASCADE", "ALTER SCHEMA blog RENAME TO mine",
		"CREATE VIEW platformd_ledgers.mine AS SELECT 1",
	} {
		require.Error(t, owner.Exec(statement).Error, statement)
	}
}
