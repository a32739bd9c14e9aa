package step_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/step"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// victimEnv holds the database, as JSON, and makes the test binary the process that migrates it.
const victimEnv = "PLATFORMD_TEST_VICTIM"

// open opens a database for a migration.
func open(t *testing.T, d pluginapi.Database) *gorm.DB {
	t.Helper()
	db, err := backend.Open(t.Context(), backend.Database(d), backend.Options{Migration: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close(db)) })
	return db
}

// tableOf is the name of the database's ledger.
func tableOf(d pluginapi.Database) string {
	if d.Ledger != "" {
		return d.Ledger
	}
	return ledger.Table
}

// run runs a step whose statements are given.
func run(t *testing.T, d pluginapi.Database, s step.Step) ([]string, error) {
	t.Helper()
	return step.Run(t.Context(), open(t, d), tableOf(d), s)
}

func rowsOf(t *testing.T, d pluginapi.Database) []ledger.Row {
	t.Helper()
	rows, err := ledger.Read(open(t, d), tableOf(d))
	require.NoError(t, err)
	return rows
}

// said is what the table of that name holds.
func said(t *testing.T, d pluginapi.Database) (all []int) {
	t.Helper()
	require.NoError(t, open(t, d).Raw("SELECT n FROM said ORDER BY n").Scan(&all).Error)
	return all
}

// declared are the steps of the tests below.
var declared = []ledger.Declared{{ID: "0001_said", Checksum: "c0ffee"}, {ID: "0002_next", Checksum: "beef"}}

func first() step.Step {
	return step.Step{ID: "0001_said", Declared: declared, Statements: []string{
		"CREATE TABLE said (n integer NOT NULL)", "CREATE TABLE brake (n integer NOT NULL)",
	}}
}

func next(statements ...string) step.Step {
	return step.Step{ID: "0002_next", Declared: declared, Statements: statements}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		ran, err := run(t, d.Migrations, first())
		require.NoError(t, err)
		require.Equal(t, first().Statements, ran)
		odd := "INSERT INTO said SELECT 1 WHERE '?' <> '@name' AND '$1' <> '?'" // what GORM takes for the places of values
		ran, err = run(t, d.Migrations, next(odd))
		require.NoError(t, err)
		require.Equal(t, []string{odd}, ran)
		require.Equal(t, []int{1}, said(t, d.Migrations))
		rows := rowsOf(t, d.Migrations)
		require.Equal(t, []string{"0001_said", "0002_next"}, ledger.IDs(rows))
		require.Equal(t, []string{"c0ffee", "beef"}, []string{rows[0].Checksum, rows[1].Checksum})

		ran, err = run(t, d.Migrations, next("INSERT INTO said VALUES (2)"))
		require.NoError(t, err)
		require.Equal(t, []string{odd}, ran, "what ran the first time")
		edited := next(odd)
		edited.Declared = []ledger.Declared{{ID: "0001_said", Checksum: "0ther"}, declared[1]}
		_, err = run(t, d.Migrations, edited)
		require.ErrorContains(t, err, "0001_said", "a step that was applied has another text now")
	})
}

func TestAStatementThatFailsIsNamed(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		_, err := run(t, d.Migrations, first())
		require.NoError(t, err)
		_, err = run(t, d.Migrations, next("INSERT INTO said VALUES (1)", "SELECT 1", "INSERT INTO sayd VALUES (2)", "SELECT 2"))
		var failed *step.StatementError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, []any{3, 4, "INSERT INTO sayd VALUES (2)"}, []any{failed.Number, failed.Of, failed.Text})
		require.Regexp(t, `^statement 3 of 4: .*sayd.* \(INSERT INTO sayd VALUES \(2\)\)$`, err.Error())
		require.Empty(t, said(t, d.Migrations), "all or nothing")
		require.Len(t, rowsOf(t, d.Migrations), 1)

		_, err = run(t, d.Migrations, next("ALTER TABLE said ADD COLUMN m integer NOT NULL DEFAULT 1 CHECK (m > 0)",
			"INSERT INTO said (n, m) VALUES (1, -1)"))
		require.ErrorIs(t, err, gorm.ErrCheckConstraintViolated, "and it has its name")
	})
}

func TestStatementsOutsideOfATransactionGoOn(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		_, err := run(t, d.Migrations, first())
		require.NoError(t, err)
		wanted := next("INSERT INTO said VALUES (1)", "INSERT INTO said VALUES (2)", "INSERT INTO said SELECT n FROM later",
			"INSERT INTO said VALUES (4)")
		wanted.NoTransaction = true
		for range 2 { // however often
			_, err = run(t, d.Migrations, wanted)
			require.ErrorContains(t, err, "statement 3 of 4: ")
			require.ErrorContains(t, err, "it is noted as begun, and will be resumed")
			last := rowsOf(t, d.Migrations)[1]
			require.True(t, last.Unfinished)
			require.Equal(t, 2, last.Progress)
			require.Equal(t, []int{1, 2}, said(t, d.Migrations), "each once")
		}
		require.NoError(t, open(t, d.Migrations).Exec("CREATE TABLE later AS SELECT 3 AS n").Error)
		ran, err := run(t, d.Migrations, wanted)
		require.NoError(t, err)
		require.Equal(t, wanted.Statements, ran, "of all runs")
		require.Equal(t, []int{1, 2, 3, 4}, said(t, d.Migrations))
		last := rowsOf(t, d.Migrations)[1]
		require.False(t, last.Unfinished)
		kept, err := ledger.Statements(open(t, d.Migrations), tableOf(d.Migrations), "0002_next")
		require.NoError(t, err)
		require.Equal(t, wanted.Statements, kept)
		ran, err = run(t, d.Migrations, wanted)
		require.NoError(t, err)
		require.Equal(t, wanted.Statements, ran)
		require.Equal(t, []int{1, 2, 3, 4}, said(t, d.Migrations), "it is done")
	})
}

// slow is a statement that goes on for as long as there is a row in the table brake.
func slow(driver string) string {
	if driver == backend.PostgreSQL {
		return "INSERT INTO said SELECT 2 FROM (SELECT count(pg_sleep(3600)) FROM brake) b"
	}
	return "INSERT INTO said SELECT 2 FROM (WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i " +
		"WHERE EXISTS (SELECT 1 FROM brake)) SELECT count(*) FROM i)"
}

func slowStep(driver string) step.Step {
	s := next("INSERT INTO said VALUES (1)", slow(driver), "INSERT INTO said VALUES (3)")
	s.NoTransaction = true
	return s
}

// runVictim runs the slow step until it is killed.
func runVictim(order string) {
	var d pluginapi.Database
	err := json.Unmarshal([]byte(order), &d)
	if err == nil {
		var db *gorm.DB
		db, err = backend.Open(context.Background(), backend.Database(d), backend.Options{Migration: true})
		if err == nil {
			_, err = step.Run(context.Background(), db, tableOf(d), slowStep(d.Driver))
		}
	}
	fmt.Println("not killed:", err)
	os.Exit(1)
}

// A process that is killed in the middle of its second statement has ended the first, for good.
func TestStatementsGoOnAfterAKill(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		_, err := run(t, d.Migrations, first())
		require.NoError(t, err)
		watcher := open(t, d.Migrations)
		require.NoError(t, watcher.Exec("INSERT INTO brake VALUES (1)").Error)
		order, err := json.Marshal(d.Migrations)
		require.NoError(t, err)
		victim := exec.CommandContext(t.Context(), os.Args[0])
		victim.Env = append(os.Environ(), victimEnv+"="+string(order))
		require.NoError(t, victim.Start())
		var last ledger.Row
		began := func() bool {
			rows, err := ledger.Read(watcher, tableOf(d.Migrations))
			if err != nil || len(rows) < 2 { // SQLite: it writes at this very moment
				return false
			}
			last = rows[1]
			return last.Progress == 1
		}
		inTime := waitFor(t, began)
		require.NoError(t, victim.Process.Kill())
		require.ErrorContains(t, victim.Wait(), "killed")
		require.True(t, inTime)
		require.True(t, last.Unfinished)

		require.NoError(t, watcher.Exec("DELETE FROM brake").Error)
		_, err = run(t, d.Migrations, slowStep(d.Migrations.Driver))
		require.NoError(t, err)
		require.Equal(t, []int{1, 2, 3}, said(t, d.Migrations), "each once")
		require.False(t, rowsOf(t, d.Migrations)[1].Unfinished)
	})
}

// waitFor reports whether condition came true in time; it does not end the test, which has a process to end first.
func waitFor(t *testing.T, condition func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// firstLedger is the table as the platform made it before it knew checksums and unfinished steps.
const firstLedger = "CREATE TABLE `platformd_migrations` (`position` integer NOT NULL,`id` text,`applied_at` datetime NOT NULL," +
	"`duration_ms` integer NOT NULL,`statements` text NOT NULL,PRIMARY KEY (`id`))"

func TestALedgerOfOldIsReadAndBroughtUpToDate(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]step.Step{
		"in a transaction": next("INSERT INTO said VALUES (1)"),
		"outside of one": {ID: "0002_next", Declared: declared, Statements: []string{"INSERT INTO said VALUES (1)"},
			NoTransaction: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := pluginapi.Database{Driver: backend.SQLite, Source: filepath.Join(t.TempDir(), "a.db"), TablePrefix: "blog_"}
			db := open(t, d)
			for _, statement := range []string{
				firstLedger, "CREATE TABLE said (n integer NOT NULL)",
				"INSERT INTO platformd_migrations VALUES (1, '0001_said', '2026-05-01 12:00:00.000001+00:00', 7, '[\"CREATE TABLE said\"]')",
			} {
				require.NoError(t, db.Exec(statement).Error)
			}
			before := []ledger.Row{{
				Position: 1, ID: "0001_said", AppliedAt: time.Date(2026, 5, 1, 12, 0, 0, 1000, time.UTC), DurationMS: 7,
			}}
			require.Equal(t, before, rowsOf(t, d), "without a change")
			var columns int
			require.NoError(t, db.Raw("SELECT count(*) FROM pragma_table_info('platformd_migrations')").Scan(&columns).Error)
			require.Equal(t, 5, columns)

			_, err := run(t, d, later)
			require.NoError(t, err, "a row of old has no checksum, which differs from none")
			rows := rowsOf(t, d)
			require.Equal(t, before[0], rows[0])
			require.Equal(t, []any{"0002_next", "beef", false}, []any{rows[1].ID, rows[1].Checksum, rows[1].Unfinished})
			require.NoError(t, db.Raw("SELECT count(*) FROM pragma_table_info('platformd_migrations')").Scan(&columns).Error)
			require.Equal(t, 8, columns)
		})
	}
}
