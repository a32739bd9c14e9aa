package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// TestInstallRollback: what the newer version has migrated stands in the way until it is undone.
func TestInstallRollback(t *testing.T) {
	t.Parallel()
	p, _ := trusting(t)
	for minor := range 2 {
		p.cli("install", packScribe(t, minor), "-y", "--allow-unsigned")
	}
	_, said, code := p.tryCLI("rollback", "scribe", "-y")
	require.Equal(t, 1, code)
	require.Contains(t, said, "0100_more")
	require.Contains(t, said, "fix: ")
	require.Equal(t, scribeVersion(1), p.installed())
	p.cli("migrate", "down", "--module", "scribe", "-y")
	p.cli("rollback", "scribe", "-y")
	require.Equal(t, scribeVersion(0), p.installed())
	p.cli("upgrade", packScribe(t, 1), "-y", "--allow-unsigned")
	require.Equal(t, scribeVersion(1), p.installed())
}

// TestInstallOlderThanTheData: what a newer version has migrated stays when that is uninstalled, and in the way of an older one.
func TestInstallOlderThanTheData(t *testing.T) {
	t.Parallel()
	p, _ := trusting(t)
	older, newer := packScribe(t, 0), packScribe(t, 1)
	p.cli("install", newer, "-y", "--allow-unsigned")
	p.cli("uninstall", "scribe", "-y")
	for range 2 {
		_, said, code := p.tryCLI("install", older, "-y", "--allow-unsigned")
		require.Equal(t, 1, code)
		require.Contains(t, said, "0100_more")
		require.ErrorContains(t, p.change(t.Context(), admin.ActInstall, older), "0100_more", "who does not look at the plan")
		require.Empty(t, p.installed())
		p.stop()
		p = p.again() // a daemon that has seen the newer version says what one says that has not
	}
	p.cli("install", newer, "-y", "--allow-unsigned")
	require.Equal(t, scribeVersion(1), p.installed())
}
