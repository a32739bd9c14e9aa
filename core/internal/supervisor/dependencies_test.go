package supervisor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/supervisor"
)

// TestHeldUntilItsDependencyWorks: a module whose required one failed its migration is held, named with the reason, and
// starts by itself once an operator has brought that one up.
func TestHeldUntilItsDependencyWorks(t *testing.T) {
	t.Parallel()
	base := module(t, "base", "", func(mod *supervisor.Module) { mod.Manifest.Grants.Database = true })
	user := module(t, "user", "", func(mod *supervisor.Module) {
		mod.After = []string{"base"}
		mod.Manifest.Requires.Modules = map[string]string{"base": "*"}
	})
	var fixed atomic.Bool
	b := newBenchWith(t, func(deps *supervisor.Deps) {
		deps.Migrate = func(context.Context, *supervisor.Module, *instance.Instance, []string) error {
			if fixed.Load() {
				return nil
			}
			return errors.New("0002_broken: no such table")
		}
	}, base, user)
	held := b.await("user", func(s supervisor.Status) bool { return s.State == supervisor.Held })
	require.Contains(t, held.Reason, "it requires base, which failed: migrate: 0002_broken")
	require.NoError(t, b.supervisor.Settled(t.Context()), "nobody waits for what will not come by itself")
	var state *supervisor.StateError
	require.ErrorAs(t, b.order(b.supervisor.Start, "user"), &state)
	require.ErrorContains(t, b.order(b.supervisor.Start, "base"), "0002_broken")

	fixed.Store(true)
	require.NoError(t, b.order(b.supervisor.Start, "base"))
	b.awaitReady("base", 1)
	b.awaitReady("user", 1)
}
