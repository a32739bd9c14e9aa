// Package instancetest launches modules for tests, as real processes: the test binary runs itself again, and the copy is
// the module.
//
// Floor 3, tests only. It must not be imported by anything but tests.
package instancetest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/isolation"
	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/wire"
	modulev1 "github.com/platformd/platformd/proto/platform/module/v1"
)

const envModule = "INSTANCETEST_MODULE"

// patience bounds a launch on a busy machine.
const patience = 30 * time.Second

// Main is the body of a TestMain: in a copy that was launched as a module it serves that module and does not return; else
// it returns, and the caller runs its tests.
func Main(modules map[string]func() pluginapi.Module) {
	isolation.Main()
	handshake := wire.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != handshake.MagicCookieValue {
		return
	}
	pluginapi.Serve(modules[os.Getenv(envModule)]())
	os.Exit(0)
}

// Launcher returns a launcher that is closed at the end of the test. It isolates nothing.
func Launcher(t testing.TB) *instance.Launcher {
	t.Helper()
	dir, err := os.MkdirTemp("", "pd") // not t.TempDir: its paths are too long for a socket
	require.NoError(t, err)
	return newLauncher(t, dir, nil)
}

// Isolating returns a launcher with the strongest isolation that the host allows, on a data folder of its own, which other
// users can pass through.
func Isolating(t testing.TB, host *isolation.Host) (launcher *instance.Launcher, dataDir string) {
	t.Helper()
	dataDir, err := os.MkdirTemp("", "pd")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dataDir)) })
	sandbox, err := isolation.NewSandbox(host, dataDir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sandbox.Close()) })
	return newLauncher(t, filepath.Join(dataDir, "run"), sandbox), dataDir
}

func newLauncher(t testing.TB, dir string, sandbox *isolation.Sandbox) *instance.Launcher {
	t.Helper()
	launcher, err := instance.NewLauncher(dir, hclog.NewNullLogger(), sandbox)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, launcher.Close()) })
	return launcher
}

// Spec describes the module of that name among those given to Main.
func Spec(t testing.TB, module string) instance.Spec {
	t.Helper()
	executable, err := os.Executable()
	require.NoError(t, err)
	return instance.Spec{
		Name:       module,
		Executable: executable,
		Dir:        t.TempDir(),
		Env:        []string{envModule + "=" + module},
		Timeout:    20 * time.Second, // a -race binary on a busy machine
		Output:     func() io.WriteCloser { return testOutput{t.Output()} },
	}
}

// Launch launches the module and initialises it; it is killed at the end of the test.
func Launch(t testing.TB, launcher *instance.Launcher, module string) *instance.Instance {
	t.Helper()
	return LaunchSpec(t, launcher, Spec(t, module))
}

// LaunchSpec is Launch for a spec that was changed.
func LaunchSpec(t testing.TB, launcher *instance.Launcher, spec instance.Spec) *instance.Instance {
	t.Helper()
	inst := launch(t, launcher, spec)
	_, err := inst.Describe(t.Context())
	require.NoError(t, err)
	initialise(t, inst, spec.Name)
	return inst
}

// LaunchHTTP1 is Launch for exchanges in HTTP/1.1, which a handler can take over.
func LaunchHTTP1(t testing.TB, launcher *instance.Launcher, module string) *instance.Instance {
	t.Helper()
	inst := launch(t, launcher, Spec(t, module))
	initialise(t, inst, module)
	return inst
}

func launch(t testing.TB, launcher *instance.Launcher, spec instance.Spec) *instance.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	inst, err := launcher.Launch(ctx, spec)
	require.NoError(t, err)
	t.Cleanup(inst.Kill)
	return inst
}

func initialise(t testing.TB, inst *instance.Instance, module string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, inst.Init(ctx, &modulev1.InitRequest{Name: module, Version: "1.0.0"}))
}

type testOutput struct{ io.Writer }

// Close implements io.Closer.
func (testOutput) Close() error { return nil }
