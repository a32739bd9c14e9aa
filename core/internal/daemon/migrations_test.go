package daemon

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
	"github.com/platformd/platformd/plugin-api/problem"
)

func TestWhatStartsAfterItsMigrations(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, test := range []struct {
		direction string
		before    supervisor.State
		changed   bool
		err       error
		want      bool
	}{
		{admin.MigrateUp, supervisor.Failed, true, nil, true},
		{admin.MigrateUp, supervisor.Failed, true, broken, false},
		{admin.MigrateUp, supervisor.Ready, true, nil, false}, // it runs
		{admin.MigrateUp, supervisor.Stopped, true, nil, false},
		{admin.MigrateUp, "", true, nil, false}, // no daemon
		{admin.MigrateDown, supervisor.Ready, true, nil, false},
		{admin.MigrateDown, supervisor.Ready, true, broken, false},
		{admin.MigrateDown, supervisor.Ready, false, broken, true}, // stopped for nothing
		{admin.MigrateDown, supervisor.Stopped, false, broken, false},
		{admin.MigrateDown, "", false, broken, false},
		{admin.MigrateRedo, supervisor.Ready, true, nil, true},
		{admin.MigrateRedo, supervisor.CrashLoop, true, nil, true},
		{admin.MigrateRedo, supervisor.Ready, true, broken, false},
		{admin.MigrateRedo, supervisor.Ready, false, broken, true},
		{admin.MigrateRedo, supervisor.Stopped, true, nil, false},
		{admin.MigrateRedo, supervisor.Held, true, nil, false},
	} {
		require.Equal(t, test.want, startsAfter(test.direction, test.before, test.changed, test.err), "%+v", test)
	}
}

func TestWhoseMigrationsThereAreNone(t *testing.T) {
	t.Parallel()
	d := with(&catalog.Catalog{
		Modules: []*catalog.Module{
			{Manifest: &manifest.Manifest{Name: "blog", Migrations: manifest.MigrationsGo}}, {Manifest: &manifest.Manifest{Name: "hello"}},
		},
		Problems: []catalog.Problem{{Name: "bad", Err: errors.New("it is bad (fix: mend it)")}},
	})
	for name, want := range map[string]struct {
		status int
		says   string
	}{
		"blgo":  {http.StatusNotFound, `there is no module "blgo"; did you mean blog?`},
		"hello": {http.StatusConflict, "module hello has no migrations\nfix: choose one"},
		"bad":   {http.StatusConflict, "module bad was refused: it is bad (fix: mend it)"},
	} {
		_, err := d.migrationPlan(t.Context(), name)
		var p *problem.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, want.status, p.Status)
		require.Contains(t, p.Detail, want.says)
		_, err = d.migrationStatus(t.Context(), name)
		require.ErrorContains(t, err, want.says)
		require.ErrorContains(t, d.runMigrations(t.Context(), name, admin.MigrationOrder{}, nil), want.says)
	}
}
