package instance_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// TestWhatRanIsLaunchedAgain, and not what has taken its file's place.
func TestWhatRanIsLaunchedAgain(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	spec := instancetest.Spec(t, "good")
	content, err := os.ReadFile(spec.Executable)
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	own := filepath.Join(t.TempDir(), "module")
	require.NoError(t, os.Link(spec.Executable, own))
	spec.Executable, spec.SHA256 = own, hex.EncodeToString(sum[:])
	instancetest.LaunchSpec(t, launcher, spec).Kill()

	require.NoError(t, os.Remove(own))
	require.NoError(t, os.WriteFile(own, []byte("#!/bin/sh\nexit 7\n"), 0o755))
	require.NoError(t, launcher.Retain(map[string]bool{spec.SHA256: true}))
	inst := instancetest.LaunchSpec(t, launcher, spec)
	require.Equal(t, spec.SHA256, inst.SHA256())
	inst.Kill()

	require.NoError(t, launcher.Retain(nil))
	_, err = launcher.Launch(t.Context(), spec)
	var host *instance.HostError
	require.ErrorAs(t, err, &host)
	require.ErrorContains(t, err, "fix: take what is there now: platformd module restart good")
}
