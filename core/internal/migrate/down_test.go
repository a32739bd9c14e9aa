package migrate_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/platformd/platformd/core/internal/migrate"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/ledger"
)

// undoable makes a migration like table's that can be undone.
func undoable(id string) db.Migration {
	m := table(id)
	m.Down = func(tx *gorm.DB) error { return tx.Exec("DROP TABLE t_" + id).Error }
	return m
}

func TestDownAndRedo(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		m := p.module("blog", undoable("a"), undoable("b"), undoable("c"))
		require.NoError(t, p.up(t, m))
		var events []migrate.Event
		require.NoError(t, p.migrator.Down(t.Context(), m, 2, func(e migrate.Event) { events = append(events, e) }))
		require.Equal(t, "a", p.applied(t, "blog"))
		require.Len(t, events, 4)
		require.Equal(t, migrate.Event{Module: "blog", ID: "c", Down: true, Number: 1, Of: 2}, events[0])
		require.True(t, events[3].Done)
		require.Contains(t, p.log.String(), "migration undone: module=blog id=b")

		require.NoError(t, p.migrator.Redo(t.Context(), m, nil))
		require.Equal(t, "a", p.applied(t, "blog"))
		require.Equal(t, 2, strings.Count(p.log.String(), "migrated: module=blog id=a"))

		var few *migrate.CountError
		require.ErrorAs(t, p.migrator.Down(t.Context(), m, 2, nil), &few)
		require.ErrorAs(t, p.migrator.Down(t.Context(), m, 0, nil), &few)
		require.Equal(t, "a", p.applied(t, "blog"))
	})
}

func TestWhatCannotBeUndone(t *testing.T) {
	t.Parallel()
	p := newPlatform(t, t.TempDir(), "")
	m := p.module("blog", undoable("a"), table("b"))
	require.NoError(t, p.up(t, m))
	err := p.migrator.Down(t.Context(), m, 1, nil)
	require.ErrorContains(t, err, "module blog: migration b could not be undone: migration b has no Down (fix: ")
	require.Equal(t, "a b", p.applied(t, "blog"))
}

func TestStatusAndPlan(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		m := p.module("blog", undoable("a"), undoable("b"))
		plan, err := p.migrator.Plan(t.Context(), m)
		require.NoError(t, err)
		require.Equal(t, []migrate.Planned{
			{ID: "a", Statements: []string{"CREATE TABLE t_a (n integer)"}},
			{ID: "b", Statements: []string{"CREATE TABLE t_b (n integer)"}},
		}, plan)
		require.Empty(t, p.applied(t, "blog"), "nothing was run")

		require.NoError(t, p.up(t, p.module("blog", undoable("a"))))
		all, problem, err := p.migrator.Status(t.Context(), m)
		require.NoError(t, err)
		require.NoError(t, problem)
		require.Len(t, all, 2)
		require.Equal(t, migrate.Applied, all[0].State)
		require.NotNil(t, all[0].AppliedAt)
		require.Equal(t, migrate.Status{ID: "b", State: migrate.Pending}, all[1])

		all, problem, err = p.migrator.Status(t.Context(), p.module("blog", undoable("b")))
		require.NoError(t, err)
		var missing *ledger.MissingError
		require.ErrorAs(t, problem, &missing)
		require.Equal(t, migrate.Missing, all[0].State)
	})
}

func TestAnEditedFileIsRefusedWithTheDifference(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		m := p.module("blog", table("a"))
		require.NoError(t, p.up(t, m))
		ledgerTable := "platformd_ledgers.blog"
		if url != "" {
			require.NoError(t, p.storage.Core().Exec("UPDATE "+ledgerTable+" SET checksum = 'aaaa'").Error)
		} else {
			file := open(t, p.storage.Module("blog").Source)
			require.NoError(t, file.Exec("UPDATE platformd_migrations SET checksum = 'aaaa'").Error)
		}
		m.Declared[0].Checksum = "bbbb"
		m.Statements = func(string) []string { return []string{"CREATE TABLE t_a (n bigint)"} }
		err := p.up(t, m)
		var drift *ledger.DriftError
		require.ErrorAs(t, err, &drift)
		require.ErrorContains(t, err, `statement 1 was "CREATE TABLE t_a (n integer)", is "CREATE TABLE t_a (n bigint)"`)
		all, problem, err := p.migrator.Status(t.Context(), m)
		require.NoError(t, err)
		require.Error(t, problem)
		require.Equal(t, migrate.Edited, all[0].State)
	})
}

// To edit a migration and to run it again is how one is written. What lies below it must be as it was.
func TestWhatWasEditedCanBeUndone(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, dir, url string) {
		p := newPlatform(t, dir, url)
		m := p.module("blog", undoable("a"), undoable("b"))
		require.NoError(t, p.up(t, m))
		ledgerTable := "platformd_ledgers.blog"
		core := p.storage.Core()
		if url == "" {
			ledgerTable, core = "platformd_migrations", open(t, p.storage.Module("blog").Source)
		}
		require.NoError(t, core.Exec("UPDATE "+ledgerTable+" SET checksum = 'aaaa'").Error)
		m.Declared[0].Checksum, m.Declared[1].Checksum = "aaaa", "bbbb"

		var drift *ledger.DriftError
		require.ErrorAs(t, p.up(t, m), &drift)
		require.NoError(t, p.migrator.Redo(t.Context(), m, nil))
		require.Equal(t, "a b", p.applied(t, "blog"))
		require.Equal(t, 2, strings.Count(p.log.String(), "migrated: module=blog id=b"))

		m.Declared[0].Checksum = "cccc"
		require.ErrorAs(t, p.migrator.Redo(t.Context(), m, nil), &drift)
		require.Equal(t, "a", drift.ID)
		require.ErrorAs(t, p.migrator.Down(t.Context(), m, 1, nil), &drift)
		require.Equal(t, "a b", p.applied(t, "blog"))
		require.NoError(t, p.migrator.Down(t.Context(), m, 2, nil))
		require.Empty(t, p.applied(t, "blog"))
	})
}
