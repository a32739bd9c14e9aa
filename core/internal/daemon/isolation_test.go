package daemon

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestTheOperatorsLimitsOnlyTighten(t *testing.T) {
	t.Parallel()
	ptr := func(n int) *int { return &n }
	half, two := 0.5, 2.0
	own := manifest.Runtime{Memory: 256 << 20, CPU: 1, PIDs: 256, OpenFiles: 1024, Concurrency: 100}
	mod := &catalog.Module{Manifest: &manifest.Manifest{Name: "blog", Runtime: own}}
	for name, c := range map[string]struct {
		limits config.Limits
		want   manifest.Runtime
		err    string
	}{
		"none":  {config.Limits{}, own, ""},
		"equal": {config.Limits{Memory: "256MiB", PIDs: ptr(256)}, own, ""},
		"some": {config.Limits{Memory: "128MiB", CPU: &half},
			manifest.Runtime{Memory: 128 << 20, CPU: 0.5, PIDs: 256, OpenFiles: 1024, Concurrency: 100}, ""},
		"all": {config.Limits{Memory: "16MiB", CPU: &half, PIDs: ptr(20), OpenFiles: ptr(64), Concurrency: ptr(1)},
			manifest.Runtime{Memory: 16 << 20, CPU: 0.5, PIDs: 20, OpenFiles: 64, Concurrency: 1}, ""},
		"memory above": {config.Limits{Memory: "1GiB"}, own,
			"modules.overrides.blog.limits.memory 1GiB is above the manifest's 256MiB (fix:"},
		"cpu above":      {config.Limits{CPU: &two}, own, "limits.cpu 2 is above the manifest's 1"},
		"pids above":     {config.Limits{PIDs: ptr(257)}, own, "limits.pids 257 is above"},
		"requests above": {config.Limits{Concurrency: ptr(101)}, own, "limits.concurrency 101 is above"},
		"files above":    {config.Limits{OpenFiles: ptr(1025)}, own, "limits.openFiles 1025 is above"},
	} {
		got, err := tighten(mod, c.limits)
		require.Equal(t, own, mod.Manifest.Runtime, "%s: the catalog's manifest is not changed", name)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, c.want, got.Manifest.Runtime, name)
	}
}

func TestWithoutAHostModulesAreTrusted(t *testing.T) {
	t.Parallel()
	d := &daemon{}
	require.NoError(t, d.openSandbox())
	require.Equal(t, isolation.None, d.isolation())
	level, notes := d.assess(nil)
	require.Equal(t, isolation.None, level)
	require.Empty(t, notes)
}
