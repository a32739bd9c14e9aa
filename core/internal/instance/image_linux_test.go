package instance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/link"
)

// TestNobodyWritesWhatIsExecuted, not even we.
func TestNobodyWritesWhatIsExecuted(t *testing.T) {
	t.Parallel()
	launcher, dataDir := instancetest.Isolating(t, probeHost(t))
	spec := verified(t, "spy")
	spec.Data = filepath.Join(dataDir, "modules", "spy")
	inst := instancetest.LaunchSpec(t, launcher, spec)
	exe := fmt.Sprintf("/proc/%d/exe", inst.PID())
	require.Equal(t, spec.SHA256, sumOf(t, exe))
	for _, path := range []string{exe, fmt.Sprintf("/proc/%d/fd/4", inst.PID())} {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		_, err = f.WriteAt([]byte("x"), 0)
		require.ErrorIs(t, err, os.ErrPermission)
		require.Error(t, f.Truncate(0))
		require.Error(t, f.Truncate(1<<30))
		_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.Error(t, err)
		require.NoError(t, f.Close())
	}
	for _, own := range []string{"/proc/self/exe", "/proc/self/fd/4"} {
		said := call(t, inst, "try", link.Param{Name: "what", Value: "write"}, link.Param{Name: "on", Value: own})
		require.Contains(t, said, "refused: ", own)
	}
	require.Equal(t, spec.SHA256, sumOf(t, exe))
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", inst.PID()))
	require.NoError(t, err)
	require.Equal(t, spec.Executable+"\x00", string(line), "a list of processes shows where it came from")
	target, err := os.Readlink(exe)
	require.NoError(t, err)
	require.Equal(t, "/memfd:spy (deleted)", target)
}

// TestAScriptFindsItsNeighbours as long as it is there; and it can still come back when it is not.
func TestAScriptFindsItsNeighbours(t *testing.T) {
	t.Parallel()
	for _, isolated := range []bool{true, false} {
		t.Run(fmt.Sprint("isolated ", isolated), func(t *testing.T) {
			t.Parallel()
			launcher := instancetest.Launcher(t)
			if isolated {
				launcher, _ = instancetest.Isolating(t, probeHost(t))
			}
			spec := verified(t, "good")
			neighbour := spec.Executable
			spec.Executable = filepath.Join(spec.Dir, "start")
			script := "#!/bin/sh\nexec \"$(dirname \"$0\")/module\"\n"
			require.NoError(t, os.WriteFile(spec.Executable, []byte(script), 0o755))
			spec.SHA256 = sumOf(t, spec.Executable)
			instancetest.LaunchSpec(t, launcher, spec).Kill()

			script = strings.Replace(script, "$(dirname \"$0\")", spec.Dir, 1)
			require.NoError(t, os.WriteFile(spec.Executable, []byte(script), 0o755))
			spec.SHA256 = sumOf(t, spec.Executable)
			instancetest.LaunchSpec(t, launcher, spec).Kill()
			require.NoError(t, os.Remove(spec.Executable))
			require.FileExists(t, neighbour)
			inst := instancetest.LaunchSpec(t, launcher, spec)
			require.Equal(t, spec.SHA256, inst.SHA256())
		})
	}
}

// TestAVersionIsForgottenWhileItRuns: what runs does not need what the launcher holds.
func TestAVersionIsForgottenWhileItRuns(t *testing.T) {
	t.Parallel()
	launcher, _ := instancetest.Isolating(t, probeHost(t))
	spec := verified(t, "good")
	spec.Limits = isolation.Limits{Memory: 1 << 30, CPU: 1, PIDs: 200, OpenFiles: 300}
	inst := instancetest.LaunchSpec(t, launcher, spec)
	require.NoError(t, launcher.Retain(nil))
	require.Equal(t, "hello, you", call(t, inst, "greet", link.Param{Name: "name", Value: "you"}))
}
