package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
	"github.com/platformd/platformd/core/internal/catalog"
	"github.com/platformd/platformd/core/internal/config"
	"github.com/platformd/platformd/core/internal/supervisor"
	"github.com/platformd/platformd/plugin-api/manifest"
)

func TestOneDaemonADirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first, err := lockDataDir(dir)
	require.NoError(t, err)
	_, err = lockDataDir(dir)
	var running *AlreadyRunningError
	require.ErrorAs(t, err, &running)
	require.Equal(t, os.Getpid(), running.PID)
	require.ErrorContains(t, err, "fix:")
	require.NoError(t, first.Close())
	second, err := lockDataDir(dir)
	require.NoError(t, err, "the file is left, the lock is not")
	require.NoError(t, second.Close())
}

func TestALockThatCannotBeMadeSaysWhatToSet(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := lockDataDir(filepath.Join(file, "data"))
	require.ErrorContains(t, err, "set data.dir")
}

func TestRunDirLeavesRoomForSockets(t *testing.T) {
	t.Parallel()
	short, err := runDir("/srv/pd/data")
	require.NoError(t, err)
	require.Equal(t, "/srv/pd/data/run", short)

	long := "/srv/" + strings.Repeat("very-", 20) + "long"
	elsewhere, err := runDir(long)
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.Remove(elsewhere) })
	require.LessOrEqual(t, len(elsewhere), longestRunDir)
	again, err := runDir(long)
	require.NoError(t, err)
	require.Equal(t, elsewhere, again, "the next daemon must find, and empty, the same folder")

	require.NoError(t, os.Chmod(elsewhere, 0o755)) //nolint:gosec // that is what must be refused
	_, err = runDir(long)
	require.ErrorContains(t, err, "not a private folder")
}

func TestBudgetOverrideBeatsManifestBeatsConfig(t *testing.T) {
	t.Parallel()
	d := &daemon{config: &config.Config{}}
	d.config.Supervisor.Restart = config.Restart{Max: 5, Window: time.Minute}
	mod := &catalog.Module{Manifest: &manifest.Manifest{}}
	require.Equal(t, supervisor.Budget{Max: 5, Window: time.Minute}, d.budget(mod, config.Override{}))

	mod.Manifest.Runtime.Restart = &manifest.Restart{Max: 3, Window: manifest.Duration(time.Hour)}
	require.Equal(t, supervisor.Budget{Max: 3, Window: time.Hour}, d.budget(mod, config.Override{}))

	most := 100_000
	override := config.Override{Restart: config.RestartOverride{Max: &most}}
	require.Equal(t, supervisor.Budget{Max: most, Window: time.Hour}, d.budget(mod, override))
}

func TestEnvironmentIsOnlyWhatWasAskedFor(t *testing.T) {
	t.Setenv("DAEMON_TEST_WANTED", "yes")
	t.Setenv("DAEMON_TEST_SECRET", "no")
	require.Equal(t, []string{"DAEMON_TEST_WANTED=yes"}, environment([]string{"DAEMON_TEST_WANTED", "DAEMON_TEST_UNSET"}))
}

func TestBannerShowsEveryModuleAndEveryFix(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	info := admin.Info{Version: "1.2.3", URL: "http://127.0.0.1:8080", PID: 7}
	require.NoError(t, printBanner(&out, info, "http://127.0.0.1:8080/setup", []admin.Module{
		{Name: "hello", Version: "0.1.0", State: "ready", Instances: []admin.Process{{PID: 42}}, StartMillis: 31},
		{Name: "blog", State: "held", Reason: "it requires billing", Fix: "install billing"},
		{Name: "evil", State: "failed", Reason: "\x1b[2Jgone"},
	}))
	page := out.String()
	for _, want := range []string{"platformd 1.2.3 is up: http://127.0.0.1:8080", "42", "31 ms", "blog is held: it requires billing",
		"fix: install billing", "platformd logs evil"} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "\x1b", "a module's text must not steer the terminal")
}
