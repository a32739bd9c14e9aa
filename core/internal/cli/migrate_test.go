package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// fakeOffline stands where the real work without a daemon will be.
func fakeOffline(ctx context.Context, opts StartOptions, work func(context.Context, admin.Offline) error) error {
	if opts.Config.Data.Dir == "held" {
		return WithExit(ExitAlreadyRunning, errors.New("platformd already runs on held (fix: stop it)"))
	}
	return work(ctx, admin.Offline{Migrations: sampleMigrations("offline"), Packages: newShelf().orders(), Data: noData})
}

// sampleMigrations are those of blog, which are as they should be, of billing, which were edited, and of idle, which has none
// pending. The checksum of blog's first tells who was asked.
func sampleMigrations(who string) admin.Migrations {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	states := map[string]admin.ModuleMigrations{
		"blog": {Module: "blog", Steps: []admin.Migration{
			{ID: "0001_posts", State: "applied", AppliedAt: &at, Millis: 12, Checksum: who + " 0123456789"},
			{ID: "0002_\x1b[2J", State: "pending"},
		}},
		"billing": {
			Module: "billing", Steps: []admin.Migration{{ID: "0001_plans", State: "edited", AppliedAt: &at}},
			Problem: "0001_plans was edited", Fix: "undo the edit",
		},
		"idle": {Module: "idle", Steps: []admin.Migration{}},
	}
	plans := map[string]admin.ModulePlan{
		"blog": {Module: "blog", Steps: []admin.PlannedMigration{{ID: "0002_tags", Statements: []string{
			"CREATE TABLE blog_tags (n integer)", "-- what follows\n-- cannot be foreseen", "-- not a comment only\nSELECT 1",
		}}}},
		"billing": {Module: "billing", Problem: "0001_plans was edited", Fix: "undo the edit"},
		"idle":    {Module: "idle"},
	}
	return admin.Migrations{
		Status: func(_ context.Context, module string) ([]admin.ModuleMigrations, error) {
			return sampleOf(states, module)
		},
		Plan: func(_ context.Context, module string) ([]admin.ModulePlan, error) { return sampleOf(plans, module) },
		Run:  runSample,
	}
}

func sampleOf[T any](of map[string]T, module string) ([]T, error) {
	if module == "" {
		return []T{of["billing"], of["blog"], of["idle"]}, nil
	}
	one, known := of[module]
	if !known {
		return nil, admin.UnknownModule(module, []string{"blog", "billing"}, "platformd migrate status")
	}
	return []T{one}, nil
}

// runSample carries out two steps of blog, fails within the first of billing, and finds nothing to do for idle.
func runSample(_ context.Context, module string, order admin.MigrationOrder, progress func(admin.MigrationEvent)) error {
	if module == "idle" {
		return nil
	}
	down := order.Direction == admin.MigrateDown
	progress(admin.MigrationEvent{ID: "0001_posts", Down: down, Number: 1, Of: 2})
	if module == "billing" {
		return errors.New("migration 0001_posts failed (fix: correct it)")
	}
	progress(admin.MigrationEvent{ID: "0001_posts", Down: down, Done: true, Millis: 7, Number: 1, Of: 2})
	progress(admin.MigrationEvent{ID: "0002_tags", Down: down, Number: 2, Of: 2})
	progress(admin.MigrationEvent{ID: "0002_tags", Down: down, Done: true, Millis: 1500, Number: 2, Of: 2})
	return nil
}

// The commands ask the daemon if there is one, and do without it otherwise.
func TestMigrateWithAndWithoutADaemon(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for who, r := range map[string]result{
		"running": d.run(t, "migrate", "status", "-o", "json"),
		"offline": invoke(t.Context(), "migrate", "status", "-o", "json", "--data-dir", t.TempDir()),
	} {
		require.Equal(t, ExitOK, r.code, r.err)
		all := decode[[]admin.ModuleMigrations](t, r.out)
		require.Equal(t, who+" 0123456789", all[1].Steps[0].Checksum)
	}
	r := invoke(t.Context(), "migrate", "status", "--data-dir", "held")
	require.Equal(t, ExitAlreadyRunning, r.code)
	requireFix(t, r, "stop it")
}

func TestMigrateStatus(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "migrate", "status")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Regexp(t, `MODULE +MIGRATION +STATE +APPLIED +TOOK +CHECKSUM\n`+
		`billing +0001_plans +edited .*\n`+
		`blog +0001_posts +applied +2026-05-01 .* 12ms +running 0123\n`+
		`blog +0002_\\x1b\[2J +pending +- +- +-\n`+
		`\n0001_plans was edited\n  fix: undo the edit\n$`, r.out)
	require.NotContains(t, d.run(t, "migrate", "status", "--module", "blog").out, "billing")
	r = d.run(t, "migrate", "status", "--module", "blgo")
	require.Equal(t, ExitNotFound, r.code)
	require.Contains(t, r.err, "did you mean blog?")
	requireFix(t, r, "list what there is: platformd migrate status")
}

func TestMigratePlan(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	const sql = "-- blog 0002_tags\nCREATE TABLE blog_tags (n integer);\n-- what follows\n-- cannot be foreseen\n" +
		"-- not a comment only\nSELECT 1;\n"
	r := d.run(t, "migrate", "plan", "--module", "blog")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Equal(t, sql, r.out)
	r = d.run(t, "migrate", "plan", "--module", "idle")
	require.Equal(t, ExitOK, r.code)
	require.Empty(t, r.out)
	require.Equal(t, "nothing is pending of idle\n", r.err)

	r = d.run(t, "migrate", "plan")
	require.Equal(t, ExitError, r.code, "one cannot be planned")
	require.Equal(t, sql, r.out, "the others are")
	require.Contains(t, r.err, "error: 0001_plans was edited")
	requireFix(t, r, "undo the edit")
	r = d.run(t, "migrate", "plan", "-o", "json")
	require.Equal(t, ExitError, r.code)
	require.Len(t, decode[[]admin.ModulePlan](t, r.out), 3)
}

func TestMigrateOrders(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	r := d.run(t, "migrate", "up", "--module", "blog")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Empty(t, r.out)
	require.Equal(t, "[1/2] applying 0001_posts: 7ms\n[2/2] applying 0002_tags: 1.5s\n", r.err)
	r = d.run(t, "migrate", "up", "--module", "idle")
	require.Equal(t, "nothing is pending of idle\n", r.err)
	r = d.run(t, "migrate", "down", "-y", "--steps", "2", "--module", "blog")
	require.Equal(t, ExitOK, r.code, r.err)
	require.Equal(t, "[1/2] undoing 0001_posts: 7ms\n[2/2] undoing 0002_tags: 1.5s\n"+
		"the next start of blog applies what is pending: install the version that is to run first\n", r.err)
	require.Equal(t, ExitOK, d.run(t, "migrate", "redo", "--yes", "--module", "blog").code)
	for _, direction := range []string{"up", "down", "redo"} {
		args := []string{"migrate", direction, "--module", "billing"}
		if direction != "up" {
			args = append(args, "-y")
		}
		r = invoke(t.Context(), append(args, "--data-dir", t.TempDir())...)
		require.Equal(t, ExitError, r.code)
		require.Equal(t, "error: migration 0001_posts failed\nfix: correct it\n", r.err)
	}
}

// Where nobody can be asked, nothing is lost.
func TestMigrateLosesNothingUnasked(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, args := range [][]string{{"down"}, {"redo"}, {"down", "--yes=false"}} {
		r := d.run(t, append([]string{"migrate", "--module", "blog"}, args...)...)
		require.Equal(t, ExitUsage, r.code)
		require.NotContains(t, r.err, "undoing")
		if len(args) == 1 && args[0] == "redo" {
			requireFix(t, r, "add -y if you are sure")
		}
	}
	for _, args := range [][]string{{"up"}, {"down", "-y"}, {"redo", "-y"}, {"create", "x"}} {
		r := d.run(t, append([]string{"migrate"}, args...)...)
		require.Equal(t, ExitUsage, r.code, "%s needs --module", args)
		require.Contains(t, r.err, `required flag(s) "module" not set`)
	}
	r := d.run(t, "migrate", "down", "-y", "--steps", "0", "--module", "blog")
	require.Equal(t, ExitUsage, r.code)
	requireFix(t, r, "write a number above 0")
}

func TestMigrateCreateOfAGoModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, id := range map[string]string{"blog": "0003_add_tags", "idle": "0001_add_tags"} {
		layModule(t, dir, name, "go")
		r := createIn(t, dir, "--module", name, "Add tags!")
		require.Equal(t, ExitOK, r.code, r.err)
		require.Regexp(t, `^db\.Migration\{\n\tID: +"`+id+`",\n\tUp: `, r.out)
	}
	layModule(t, dir, "billing", "go")
	require.Contains(t, createIn(t, dir, "--module", "billing", "x").out, `"0002_x"`, "edited is known all the same")
}

func layModule(t *testing.T, dir, name, migrations string) {
	t.Helper()
	text := "apiVersion: platformd/v1\nname: " + name + "\nversion: 0.1.0\ngrants: { database: true }\n"
	if migrations != "" {
		text += "migrations: " + migrations + "\n"
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name, "module.yaml"), []byte(text), 0o600))
}

func createIn(t *testing.T, dir string, args ...string) result {
	t.Helper()
	settings := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(settings, []byte("modules: { dir: "+dir+" }\ndata: { dir: "+t.TempDir()+" }\n"), 0o600))
	return invoke(t.Context(), append([]string{"migrate", "create", "--config", settings}, args...)...)
}

// Two people may begin a migration at the same moment.
func TestMigrateCreateOverwritesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "0001_posts.up.sql")
	require.NoError(t, writeNew(path, "first"))
	require.ErrorIs(t, writeNew(path, "second"), fs.ErrExist)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "first", string(content))
}

// noData is of modules of which nothing is kept.
var noData = admin.Data{Holdings: func(context.Context, string) ([]admin.Holding, error) { return nil, nil }}
