package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/config"
)

func TestWishesAreKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "modules.json")
	w, err := openWishes(file)
	require.NoError(t, err)
	require.NoError(t, w.set("shop", true))
	require.NoError(t, w.set("blog", true))
	require.NoError(t, w.set("shop", false))
	again, err := openWishes(file)
	require.NoError(t, err)
	require.True(t, again.isDisabled("blog"))
	require.False(t, again.isDisabled("shop"))

	require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
	_, err = openWishes(file)
	require.ErrorContains(t, err, "fix: ")
}

func TestConfigWinsOverWishes(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	w, err := openWishes(filepath.Join(t.TempDir(), "modules.json"))
	require.NoError(t, err)
	d := &daemon{config: &config.Config{}, live: newLive(w)}
	d.config.Modules.Overrides = map[string]config.Override{"on": {Enabled: &yes}, "off": {Enabled: &no}}
	for _, name := range []string{"on", "free"} {
		require.NoError(t, w.set(name, true)) // kept before config.yaml said anything
	}
	require.NoError(t, d.disabled("on"))
	require.ErrorIs(t, d.disabled("off"), errDisabled)
	require.ErrorContains(t, d.disabled("off"), "remove modules.overrides.off.enabled")
	require.ErrorContains(t, d.disabled("free"), "fix: platformd module enable free")
	require.ErrorContains(t, d.wish("on", true), "config.yaml says")
	require.ErrorContains(t, d.wish("off", false), "config.yaml says")
	require.NoError(t, d.wish("free", false))
	require.NoError(t, d.disabled("free"))
}
