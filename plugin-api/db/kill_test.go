package db_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/backend"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
)

// victimEnv holds the database, as JSON, and makes the test binary the process that migrates it.
const victimEnv = "PLATFORMD_TEST_VICTIM"

// victimSteps each write, then call written inside their transaction.
func victimSteps(written func(id string)) []db.Migration {
	var steps []db.Migration
	for i := range 4 {
		id, table := fmt.Sprintf("000%d", i+1), fmt.Sprintf("blog_t%d", i+1)
		steps = append(steps, db.Migration{ID: id, Up: func(tx *gorm.DB) error {
			if err := tx.Exec("CREATE TABLE " + table + " (n integer)").Error; err != nil {
				return err
			}
			if err := tx.Exec("INSERT INTO " + table + " VALUES (1)").Error; err != nil {
				return err
			}
			written(id)
			return nil
		}})
	}
	return steps
}

// runVictim says which step it is in, when its writes are done, and waits to be told to go on.
func runVictim(order string) {
	var database pluginapi.Database
	if err := json.Unmarshal([]byte(order), &database); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	orders := bufio.NewScanner(os.Stdin)
	m := db.Migrations(victimSteps(func(id string) {
		fmt.Println(id)
		orders.Scan()
	})...)
	for _, id := range m.IDs {
		if _, err := m.Run(context.Background(), database, pluginapi.Step{ID: id}); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// killIn starts a process that migrates, and kills it with SIGKILL when it has written what step id writes.
func killIn(t *testing.T, database pluginapi.Database, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	order, err := json.Marshal(database)
	require.NoError(t, err)
	victim := exec.CommandContext(ctx, os.Args[0])
	victim.Env = append(os.Environ(), victimEnv+"="+string(order))
	stdin, err := victim.StdinPipe()
	require.NoError(t, err)
	stdout, err := victim.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, victim.Start())
	reports := bufio.NewScanner(stdout)
	for reports.Scan() && reports.Text() != id {
		_, err := io.WriteString(stdin, "go on\n")
		require.NoError(t, err)
	}
	require.Equal(t, id, reports.Text())
	require.NoError(t, victim.Process.Kill())
	require.ErrorContains(t, victim.Wait(), "killed")
}

func TestKillInTheMiddleOfAStep(t *testing.T) {
	t.Parallel()
	ids := db.Migrations(victimSteps(nil)...).IDs
	for i, id := range ids {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
				killIn(t, d.Migrations, id)
				require.Equal(t, ids[:i], append([]string{}, at(t, d.Migrations)...), "what was committed before, no more")

				up(t, d.Migrations, victimSteps(func(string) {})...)
				requireEachOnce(t, d.Migrations, ids)
			})
		})
	}
}

func TestKillAtEveryStepOfOneDatabase(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, d *plugintest.Database) {
		steps := victimSteps(func(string) {})
		for _, step := range steps {
			killIn(t, d.Migrations, step.ID)
		}
		up(t, d.Migrations, steps...)
		requireEachOnce(t, d.Migrations, db.Migrations(steps...).IDs)
	})
}

func requireEachOnce(t *testing.T, database pluginapi.Database, ids []string) {
	t.Helper()
	require.Equal(t, ids, at(t, database))
	gdb := open(t, database)
	want := len(ids)
	if database.Driver == backend.SQLite { // PostgreSQL's ledger lies elsewhere
		want++
	}
	tables, err := gdb.Migrator().GetTables()
	require.NoError(t, err)
	require.Len(t, tables, want, "a table for each step, and the ledger: %s", strings.Join(tables, " "))
	for i := range ids {
		var rows []int
		require.NoError(t, gdb.Raw(fmt.Sprintf("SELECT n FROM blog_t%d", i+1)).Scan(&rows).Error)
		require.Equal(t, []int{1}, rows)
	}
}
