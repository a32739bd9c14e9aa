package cli

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/isolation"
)

// doctor runs the command on a configuration of its own.
func doctor(t *testing.T, dataDir, listen string) (diagnosis, result) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("server: {listen: '"+listen+"'}\n"), 0o600))
	r := invoke(t.Context(), "doctor", "-o", "json", "--config", config, "--data-dir", dataDir)
	return decode[diagnosis](t, r.out), r
}

func (d diagnosis) check(t *testing.T, name string) finding {
	t.Helper()
	for _, check := range d.Checks {
		if check.Name == name {
			return check
		}
	}
	require.FailNow(t, "no check "+name)
	return finding{}
}

func TestDoctorWithoutADaemon(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	d, r := doctor(t, dir, "127.0.0.1:0")
	require.Equal(t, ExitOK, r.code, r.err)
	require.True(t, d.Healthy)
	require.Equal(t, isolation.Probe().Level(), d.Isolation)
	for _, name := range []string{"data dir", "disk space", "control socket", "listen", "database"} {
		require.Equal(t, checkOK, d.check(t, name).Result, "%v", d.check(t, name))
	}
	require.Contains(t, d.check(t, "control socket").Detail, "no platformd runs")
	for _, check := range d.Checks {
		require.True(t, check.Result == checkOK || check.Fix != "", "%s says nothing to do", check.Name)
	}
	r = invoke(t.Context(), "doctor", "--data-dir", dir)
	require.Contains(t, r.out, "isolation")
	require.Contains(t, r.out, "fix: ")
}

func TestDoctorFindsWhatIsBroken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	d, r := doctor(t, dir, taken.Addr().String())
	require.Equal(t, ExitUnhealthy, r.code)
	require.False(t, d.Healthy)
	require.Equal(t, checkFail, d.check(t, "listen").Result)
	require.Equal(t, checkWarn, d.check(t, "data dir").Result)
	require.Contains(t, d.check(t, "data dir").Fix, "chmod go-rw")
	require.Contains(t, r.err, "not well: listen")
	requireFix(t, r, "stop what uses the address")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	d, r = doctor(t, file, "127.0.0.1:0")
	require.Equal(t, ExitUnhealthy, r.code)
	require.Contains(t, d.check(t, "data dir").Detail, "is not a folder")
}

func TestDoctorNamesAStaleSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "control.sock"), nil, 0o600))
	d, _ := doctor(t, dir, "127.0.0.1:0")
	require.Contains(t, d.check(t, "control socket").Detail, "left by a platformd that was killed")
}

func TestDoctorAsksTheDaemon(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.set(func(d *daemon) {
		d.info.Isolation = isolation.None
		d.info.Capabilities = []isolation.Finding{{Name: "landlock", Detail: "not there", Fix: "a newer kernel"}}
	})
	seen, r := doctor(t, d.dir, "127.0.0.1:0")
	require.Equal(t, ExitOK, r.code, "what is missing for isolation does not break the platform: %s", r.err)
	require.Equal(t, isolation.None, seen.Isolation)
	require.Contains(t, seen.check(t, "isolation").Detail, "modules are trusted")
	missing := finding{Name: "landlock", Result: checkWarn, Detail: "not there", Fix: "a newer kernel"}
	require.Equal(t, missing, seen.check(t, "landlock"))
	require.Contains(t, seen.check(t, "listen").Detail, "by the running platformd")
	require.Contains(t, seen.check(t, "control socket").Detail, "answered by platformd 1.2.3")
}
