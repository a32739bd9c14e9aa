package instance_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
)

// verified is a spec of the module whose executable is a file of its own, compared with its checksum at each launch.
func verified(t *testing.T, module string) instance.Spec {
	t.Helper()
	spec := instancetest.Spec(t, module)
	spec.Dir, spec.Executable = place(t)
	spec.SHA256 = sumOf(t, spec.Executable)
	return spec
}

func sumOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// TestWhatRanIsLaunchedAgain, and not what has taken its file's place.
func TestWhatRanIsLaunchedAgain(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	spec := verified(t, "good")
	instancetest.LaunchSpec(t, launcher, spec).Kill()
	for name, replace := range replacements() {
		require.NoError(t, os.RemoveAll(spec.Executable), name)
		replace(t, spec.Executable)
		require.NoError(t, launcher.Retain(map[string]bool{spec.SHA256: true}))
		inst := instancetest.LaunchSpec(t, launcher, spec)
		require.Equal(t, spec.SHA256, inst.SHA256(), name)
		inst.Kill()
	}
}

// TestWhatIsReplacedIsNotLaunched, whatever it was replaced with.
func TestWhatIsReplacedIsNotLaunched(t *testing.T) {
	t.Parallel()
	for name, replace := range replacements() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			launcher := instancetest.Launcher(t)
			spec := verified(t, "good")
			instancetest.LaunchSpec(t, launcher, spec).Kill()
			require.NoError(t, launcher.Retain(nil))
			require.NoError(t, os.Remove(spec.Executable))
			replace(t, spec.Executable)
			_, err := launcher.Launch(t.Context(), spec)
			var host *instance.HostError
			require.ErrorAs(t, err, &host)
			require.Regexp(t, `fix: take what is there now: platformd module restart good|`+
				`is not a regular file \(fix: build the module\)|no such file`, err.Error())
		})
	}
}

func replacements() map[string]func(t *testing.T, path string) {
	return map[string]func(*testing.T, string){
		"another file": func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 7\n"), 0o755))
		},
		"an empty file": func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.WriteFile(path, nil, 0o755)) },
		"a link":        func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Symlink("/bin/true", path)) },
		"a folder":      func(t *testing.T, path string) { t.Helper(); require.NoError(t, os.Mkdir(path, 0o755)) },
		"a pipe":        func(t *testing.T, path string) { t.Helper(); require.NoError(t, syscall.Mkfifo(path, 0o755)) },
		"nothing":       func(*testing.T, string) {},
	}
}

// TestRewrittenInPlace: by somebody who had opened the file before it was read.
func TestRewrittenInPlace(t *testing.T) {
	t.Parallel()
	launcher := instancetest.Launcher(t)
	spec := verified(t, "good")
	writer, err := os.OpenFile(spec.Executable, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer writer.Close()
	instancetest.LaunchSpec(t, launcher, spec).Kill() // executing the path would fail: the file is busy
	_, err = writer.WriteAt([]byte("#!/bin/sh\nexit 7\n"), 0)
	require.NoError(t, err)
	require.Equal(t, spec.SHA256, instancetest.LaunchSpec(t, launcher, spec).SHA256())
	require.NoError(t, launcher.Retain(nil))
	_, err = launcher.Launch(t.Context(), spec)
	require.ErrorContains(t, err, "is not the one that was there")
}
