package step_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/ledger"
	"github.com/platformd/platformd/plugin-api/db/sqlite"
	"github.com/platformd/platformd/plugin-api/db/step"
)

// What was edited after it had been applied is not applied again, nor is anything above it, but it can be undone.
func TestAnEditedStepCanBeUndone(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sqlite.Close(db)) })
	declared := []ledger.Declared{{ID: "a", Checksum: "1"}, {ID: "b", Checksum: "2"}, {ID: "c", Checksum: "3"}}
	run := func(id string, down bool) error {
		statement := map[bool]string{false: "CREATE TABLE " + id + " (n integer)", true: "DROP TABLE " + id}[down]
		_, err := step.Run(t.Context(), db, ledger.Table, step.Step{
			ID: id, Down: down, Declared: declared, Statements: []string{statement},
		})
		return err
	}
	require.NoError(t, run("a", false))
	require.NoError(t, run("b", false))
	declared[0].Checksum, declared[1].Checksum = "edited", "edited"
	var drift *ledger.DriftError
	require.ErrorAs(t, run("c", false), &drift)
	require.ErrorContains(t, run("a", true), "migration a is not the last one applied")
	require.NoError(t, run("b", true))
	require.NoError(t, run("a", true))
	require.NoError(t, run("a", false))
	rows, err := ledger.Read(db, ledger.Table)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, "edited", rows[0].Checksum)
}
