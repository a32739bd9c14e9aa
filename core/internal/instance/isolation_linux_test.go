package instance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/isolation"
	"github.com/platformd/platformd/plugin-api/link"
)

func probeHost(t *testing.T) *isolation.Host {
	t.Helper()
	host := isolation.Probe()
	for _, finding := range host.Findings() {
		t.Log(finding)
	}
	require.NotEqual(t, isolation.None, host.Level(), "this machine cannot isolate; the tests would prove nothing")
	return host
}

// place lays the test binary where every user can execute it.
func place(t *testing.T) (dir, executable string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pdmod")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	own, err := os.Executable()
	require.NoError(t, err)
	executable = filepath.Join(dir, "module")
	text, err := os.ReadFile(own)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(executable, text, 0o755))
	return dir, executable
}

// cell is an isolated spy and its surroundings.
type cell struct {
	*instance.Instance
	dataDir string // of the platform
	data    string // of the module
	level   isolation.Level
}

// isolated launches a spy. With reachable it is where another user can execute it.
func isolated(t *testing.T, reachable bool, limits isolation.Limits) cell {
	t.Helper()
	host := probeHost(t)
	launcher, dataDir := instancetest.Isolating(t, host)
	spec := instancetest.Spec(t, "spy")
	level := isolation.Landlock
	if reachable {
		spec.Dir, spec.Executable = place(t)
		level = host.Level()
	}
	spec.Data, spec.Limits = filepath.Join(dataDir, "modules", "spy"), limits
	spec.Calls, spec.Publications = greet, linger
	return cell{instancetest.LaunchSpec(t, launcher, spec), dataDir, spec.Data, level}
}

// greet greets whoever may call others in the instance's name.
func greet(inst *instance.Instance, l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if inst.CheckCaller(conn) == nil {
			_, _ = conn.Write([]byte("x"))
		}
		_ = conn.Close()
	}
}

// linger greets, and stays until the module hangs up or has ended.
func linger(_ context.Context, conn net.Conn) {
	_, _ = conn.Write([]byte("x"))
	_, _ = conn.Read(make([]byte, 1))
}

func (c cell) try(t *testing.T, what, on string) string {
	t.Helper()
	return call(t, c.Instance, "try", link.Param{Name: "what", Value: what}, link.Param{Name: "on", Value: on})
}

// eachLevel runs the test at every level that this machine has.
func eachLevel(t *testing.T, test func(t *testing.T, c cell)) {
	for _, reachable := range []bool{true, false} {
		t.Run(fmt.Sprint("reachable ", reachable), func(t *testing.T) {
			t.Parallel()
			c := isolated(t, reachable, isolation.Limits{Memory: 1 << 30, CPU: 2, PIDs: 200, OpenFiles: 300})
			require.Equal(t, c.level, c.Isolation())
			test(t, c)
		})
	}
}

func TestAModuleCannotReachTheCore(t *testing.T) {
	t.Parallel()
	eachLevel(t, func(t *testing.T, c cell) {
		core := strconv.Itoa(os.Getpid())
		secret := filepath.Join(c.dataDir, "core.db")
		require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
		for _, attempt := range [][2]string{
			{"read", "/proc/" + core + "/environ"}, {"read", "/proc/" + core + "/maps"}, {"read", "/proc/" + core + "/mem"},
			{"list", "/proc/" + core + "/fd"}, {"attach", core}, {"memory", core}, {"kill", core},
			{"read", secret}, {"list", c.dataDir}, {"write", filepath.Join(c.dataDir, "new")}, {"read", "/etc/shadow"},
			{"write", "/tmp/" + filepath.Base(c.dataDir)},
		} {
			require.Contains(t, c.try(t, attempt[0], attempt[1]), "refused: ", "%s", attempt)
		}
	})
}

func TestAModuleCannotReachAnother(t *testing.T) {
	t.Parallel()
	eachLevel(t, func(t *testing.T, c cell) {
		other := filepath.Join(c.dataDir, "modules", "other")
		require.NoError(t, os.MkdirAll(other, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(other, "other.db"), []byte("secret"), 0o644))
		neighbour := filepath.Join(c.dataDir, "run", "77")
		require.NoError(t, os.Mkdir(neighbour, 0o755))
		require.Contains(t, c.try(t, "read", filepath.Join(other, "other.db")), "refused: ")
		require.Contains(t, c.try(t, "list", other), "refused: ")
		require.Contains(t, c.try(t, "write", filepath.Join(other, "new")), "refused: ")
		require.Contains(t, c.try(t, "write", filepath.Join(neighbour, "data.sock")), "refused: ")
	})
}

func TestAModuleCanDoWhatItMay(t *testing.T) {
	t.Parallel()
	eachLevel(t, func(t *testing.T, c cell) {
		require.Equal(t, "written", c.try(t, "write", filepath.Join(c.data, "spy.db")))
		require.Equal(t, "from a shell\n", c.try(t, "spawn", ""))
		require.Contains(t, c.try(t, "read", "/proc/self/status"), "NoNewPrivs:\t1")
		require.Contains(t, c.try(t, "execute", filepath.Join(c.data, "program")), "refused: ", "it may not execute what it wrote")
		files, err := strconv.Atoi(c.try(t, "files", ""))
		require.NoError(t, err)
		require.Less(t, files, 300)
		uid := c.try(t, "id", "")
		require.Equal(t, c.level == isolation.Full, uid != strconv.Itoa(os.Getuid()), "user %s at level %s", uid, c.level)
	})
}

// Its process can call others, and publish, and nobody else in its name.
func TestTheSocketsAreTheProcesss(t *testing.T) {
	t.Parallel()
	eachLevel(t, func(t *testing.T, c cell) {
		for _, name := range []string{"calls.sock", "events.sock"} {
			socket := filepath.Join(c.dataDir, "run", "1", name)
			require.Equal(t, "connected", c.try(t, "dial", socket))
			info, err := os.Stat(socket)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			conn, err := net.DialTimeout("unix", socket, 5*time.Second)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
			_, err = conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		}
	})
}

// A module that opens more connections than it needs gets no more, and has as many again when it has closed them.
func TestConnectionsToTheEventsSocketAreBounded(t *testing.T) {
	t.Parallel()
	c := isolated(t, false, isolation.Limits{Memory: 1 << 30, CPU: 2, PIDs: 200, OpenFiles: 300})
	socket := filepath.Join(c.dataDir, "run", "1", "events.sock")
	for range 2 {
		require.Eventually(t, func() bool { return c.try(t, "crowd", socket) == "32" }, 20*time.Second, 10*time.Millisecond)
	}
}

func TestAModuleSeesTheAllowListOnly(t *testing.T) {
	t.Setenv("CANARY", "secret")
	c := isolated(t, true, isolation.Limits{Memory: 1 << 30, CPU: 1.5, PIDs: 200, OpenFiles: 300})
	allowed := map[string]bool{
		"INSTANCETEST_MODULE": true, "TMPDIR": true, "GOMAXPROCS": true, "GOMEMLIMIT": true, "GOGC": true, "PLATFORMD_MODULE": true,
		"PLATFORMD_LIFELINE_FD": true, "PLUGIN_MIN_PORT": true, "PLUGIN_MAX_PORT": true, "PLUGIN_PROTOCOL_VERSIONS": true,
		"PLUGIN_CLIENT_CERT": true, "PLUGIN_UNIX_SOCKET_DIR": true, "PLUGIN_UNIX_SOCKET_GROUP": true,
	}
	seen := c.try(t, "environ", "")
	for entry := range strings.SplitSeq(seen, "\n") {
		if name, _, found := strings.Cut(entry, "="); found && !strings.HasPrefix(entry, "-----") && strings.ToUpper(name) == name {
			require.True(t, allowed[name] || strings.HasSuffix(entry, "=="), "variable %s", name)
		}
	}
	require.NotContains(t, seen, "secret")
	require.Contains(t, seen, "GOMAXPROCS=2")
	require.Contains(t, seen, "GOMEMLIMIT=966367641")
	require.Contains(t, seen, "TMPDIR="+filepath.Join(c.dataDir, "run", "1")+"\n")
	require.NotContains(t, c.try(t, "read", "/proc/self/cmdline"), "__exec")
}

func TestAModuleIsKnownByItsConnection(t *testing.T) {
	t.Parallel()
	eachLevel(t, func(t *testing.T, c cell) {
		path := filepath.Join(c.dataDir, "socket")
		listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, 0o777))
		checked := make(chan error, 2)
		go func() {
			for range 2 {
				conn, err := listener.AcceptUnix()
				if err == nil {
					err = errors.Join(isolation.CheckPeer(conn), conn.Close())
				}
				checked <- err
			}
		}()
		require.Contains(t, c.try(t, "dial", path), "refused: EOF")
		require.ErrorContains(t, <-checked, "as modules are")
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		require.NoError(t, <-checked, "we are none")
		require.NoError(t, errors.Join(conn.Close(), listener.Close()))
	})
}

func TestNothingOutlivesAModule(t *testing.T) {
	t.Parallel()
	eachLevel(t, func(t *testing.T, c cell) {
		startGrandchildren(t, c)
		groups := groupsOf(t, c.PID())
		require.NoError(t, syscall.Kill(c.PID(), syscall.SIGKILL))
		<-c.Done()
		require.Equal(t, "signal killed", c.ExitReason())
		for _, dir := range groups {
			require.Eventually(t, func() bool { return members(t, dir) == "" }, 10*time.Second, time.Millisecond, dir)
		}
		c.Kill()
		for _, dir := range groups {
			require.NoDirExists(t, dir)
		}
	})
}

func startGrandchildren(t *testing.T, c cell) {
	t.Helper()
	startGrandchild(t, c.Instance)
	startGrandchild(t, c.Instance, link.Param{Name: "setsid", Value: "yes"})
}

// groupsOf finds the cgroups that were made for the process.
func groupsOf(t *testing.T, pid int) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" && strings.Contains(path, "platformd-modules-") &&
			strings.Contains("\n"+members(t, filepath.Dir(path)), fmt.Sprintf("\n%d\n", pid)) {
			found = append(found, filepath.Dir(path))
		}
		return nil
	}))
	return found
}

func members(t *testing.T, group string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return ""
	}
	require.NoError(t, err)
	return string(text)
}

func limitsWork(t *testing.T, controller string) {
	t.Helper()
	for _, finding := range probeHost(t).Findings() {
		if finding.Name == "cgroup "+controller && !finding.OK {
			t.Skip("this machine does not let us limit " + controller + ": " + finding.Fix)
		}
	}
}

func TestTooMuchMemoryIsNamed(t *testing.T) {
	t.Parallel()
	limitsWork(t, "memory")
	c := isolated(t, true, isolation.Limits{Memory: 160 << 20, CPU: 1, PIDs: 200, OpenFiles: 300})
	endIn(t, c, "allocate")
	require.Equal(t, "oom (over its memory limit of 160 MiB)", c.ExitReason())
}

func TestTooManyProcessesAreNamed(t *testing.T) {
	t.Parallel()
	limitsWork(t, "pids")
	c := isolated(t, true, isolation.Limits{Memory: 1 << 30, CPU: 1, PIDs: 60, OpenFiles: 1000})
	endIn(t, c, "fork")
	require.Regexp(t, `^exit \d+ \(pids: over its limit of 60 processes and threads\)$`, c.ExitReason())
}

// endIn calls a route in which the module ends.
func endIn(t *testing.T, c cell, what string) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = recover() }()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		if err != nil {
			panic(err)
		}
		params := []link.Param{{Name: "what", Value: what}, {Name: "on"}}
		ex := instance.Exchange{Call: &link.Call{Route: "try", Params: params, Principal: link.Anonymous(), Path: "/"}}
		_ = c.ServeHTTP(discarding{}, r, ex)
	}()
	select {
	case <-c.Done():
	case <-time.After(30 * time.Second):
		require.FailNow(t, "the module lives")
	}
	<-ended
}

type discarding struct{}

// Header implements http.ResponseWriter.
func (discarding) Header() http.Header { return http.Header{} }

// Write implements http.ResponseWriter.
func (discarding) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter.
func (discarding) WriteHeader(int) {}
