package instance_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/instance"
	"github.com/platformd/platformd/core/internal/instance/instancetest"
	"github.com/platformd/platformd/core/internal/isolation"
)

func systemActs() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"try": func(args []string) error {
			said := make([]string, 0, len(args)/2)
			for i := 0; i+1 < len(args); i += 2 {
				result, err := attempts()[args[i]](args[i+1])
				if err != nil {
					result = "refused: " + err.Error()
				}
				said = append(said, result)
			}
			return json.NewEncoder(os.Stdout).Encode(said)
		},
		"core": func(args []string) error { return playCore(args[0], args[1] == "isolated") },
	}
}

// playCore runs "sleep" as the core would, until it is killed.
func playCore(dataDir string, isolated bool) error {
	host := isolation.Probe()
	if err := isolation.Harden(); err != nil {
		return err
	}
	var sandbox *isolation.Sandbox
	if isolated {
		made, err := isolation.NewSandbox(host, dataDir)
		if err != nil {
			return err
		}
		sandbox = made
	}
	launcher, err := instance.NewLauncher(filepath.Join(dataDir, "run"), hclog.NewNullLogger(), sandbox)
	if err != nil {
		return err
	}
	executable, err := os.Executable()
	if err != nil {
		return err
	}
	_, err = launcher.RunOwn(context.Background(), instance.Spec{
		Name: "spy", Executable: executable, Dir: "/", Data: filepath.Join(dataDir, "modules", "spy"),
		Output: func() io.WriteCloser { return os.Stderr },
	}, []string{ownCommand, "sleep", dataDir}, nil)
	return errors.Join(err, errors.New("it was not to end"))
}

// stand is a module in whose place our own binary is run, and its surroundings.
type stand struct {
	launcher *instance.Launcher
	spec     instance.Spec
	output   *output
	dataDir  string
	level    isolation.Level
}

// eachStand runs the test at every level that this machine has.
func eachStand(t *testing.T, limits isolation.Limits, test func(t *testing.T, s stand)) {
	host := probeHost(t)
	for _, level := range []isolation.Level{isolation.None, isolation.Landlock, host.Level()} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			s := stand{level: level}
			s.spec, s.output = owning(t)
			switch level {
			case isolation.None:
				dir, err := os.MkdirTemp("", "pd")
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
				s.dataDir = dir
				s.launcher, err = instance.NewLauncher(filepath.Join(dir, "run"), hclog.NewNullLogger(), nil)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, s.launcher.Close()) })
			case isolation.Full:
				s.spec.Dir, s.spec.Executable = place(t)
				fallthrough
			default:
				s.launcher, s.dataDir = instancetest.Isolating(t, host)
			}
			s.spec.Data, s.spec.Limits = filepath.Join(s.dataDir, "modules", "spy"), limits
			test(t, s)
			s.requireNothingLeft(t)
		})
	}
}

// requireNothingLeft checks that no folder and no cgroup remains of what was run.
func (s stand) requireNothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(s.dataDir, "run"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, groupsBelow(t, s.dataDir))
}

// groupsBelow finds the cgroups of processes that were made for a data folder.
func groupsBelow(t *testing.T, dataDir string) (found []string) {
	t.Helper()
	id := fnv.New64a()
	_, _ = id.Write([]byte(dataDir))
	parent := "platformd-modules-" + hex.EncodeToString(id.Sum(nil))
	require.NoError(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.Contains(filepath.Dir(path), parent) {
			found = append(found, path)
		}
		return nil // groups come and go while we look
	}))
	return found
}

// asked runs an act and returns what it says.
func (s stand) asked(t *testing.T, act ...string) string {
	t.Helper()
	answer, err := s.launcher.RunOwn(t.Context(), s.spec, append([]string{ownCommand}, act...), nil)
	require.NoError(t, err, "log: %s", s.output)
	return string(answer)
}

// tried makes attempts, each a name and what it is on, and returns what each says.
func (s stand) tried(t *testing.T, attempts ...string) (said []string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(s.asked(t, append([]string{"try"}, attempts...)...)), &said))
	require.Len(t, said, len(attempts)/2)
	return said
}

func TestRunOwnIsInTheModulesPlace(t *testing.T) {
	t.Parallel()
	eachStand(t, isolation.Limits{Memory: 1 << 30, CPU: 2, PIDs: 200, OpenFiles: 300}, func(t *testing.T, s stand) {
		secret := filepath.Join(s.dataDir, "core.db")
		require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
		other := filepath.Join(s.dataDir, "modules", "other")
		require.NoError(t, os.MkdirAll(other, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(other, "other.db"), []byte("secret"), 0o644))
		require.NoError(t, os.MkdirAll(s.spec.Data, 0o700))

		core := strconv.Itoa(os.Getpid())
		forbidden := []string{
			"read", secret, "write", filepath.Join(s.dataDir, "new"), "read", filepath.Join(other, "other.db"), "list", other,
			"write", filepath.Join(other, "new"), "read", "/etc/shadow", "read", "/proc/" + core + "/environ",
			"read", "/proc/" + core + "/mem", "attach", core, "memory", core, "kill", core, "write", "/tmp/" + filepath.Base(s.dataDir),
		}
		if s.level != isolation.None {
			for i, said := range s.tried(t, forbidden...) {
				require.Contains(t, said, "refused: ", "%s", forbidden[2*i:2*i+2])
			}
		}
		said := s.tried(t, "write", filepath.Join(s.spec.Data, "spy.db"), "id", "", "read", "/proc/self/status", "files", "")
		require.Equal(t, "written", said[0])
		require.Equal(t, s.level == isolation.Full, said[1] != strconv.Itoa(os.Getuid()), "user %s", said[1])
		if s.level == isolation.None {
			return
		}
		require.Contains(t, said[2], "NoNewPrivs:\t1")
		files, err := strconv.Atoi(said[3])
		require.NoError(t, err)
		require.Less(t, files, 300)
	})
}

func TestRunOwnSeesNothingOfOurEnvironment(t *testing.T) {
	t.Setenv("CANARY", "secret")
	eachStand(t, isolation.Limits{Memory: 1 << 30, CPU: 2}, func(t *testing.T, s stand) {
		s.spec.Env = []string{"OF_THE_MODULE=its own binary's"}
		var names []string
		for line := range strings.Lines(s.asked(t, "environ")) {
			name, _, _ := strings.Cut(line, "=")
			names = append(names, name)
		}
		slices.Sort(names)
		require.Equal(t, []string{"GOMAXPROCS", "GOMEMLIMIT", "PLATFORMD_LIFELINE_FD", "TMPDIR"}, names)
	})
}

func TestRunOwnIsWithinTheModulesLimits(t *testing.T) {
	t.Parallel()
	limitsWork(t, "memory")
	eachStand(t, isolation.Limits{Memory: 160 << 20, CPU: 1, PIDs: 200, OpenFiles: 300}, func(t *testing.T, s stand) {
		if s.level == isolation.None {
			return
		}
		_, err := s.launcher.RunOwn(t.Context(), s.spec, []string{ownCommand, "try", "allocate", ""}, nil)
		require.ErrorContains(t, err, "the process ended: oom (over its memory limit of 160 MiB)")
	})
}

func TestRunOwnLeavesNothingWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	eachStand(t, isolation.Limits{Memory: 1 << 30, CPU: 1, PIDs: 200, OpenFiles: 300}, func(t *testing.T, s stand) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := s.launcher.RunOwn(ctx, s.spec, []string{ownCommand, "sleep", s.dataDir}, nil)
			ended <- err
		}()
		require.Eventually(t, func() bool { return s.output.String() == "sleeping\n" }, 20*time.Second, time.Millisecond)
		pids := sleepers(t, s.dataDir)
		require.Len(t, pids, 1)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.True(t, gone(pids[0]))
	})
}

// sleepers are the processes that "sleep" for a data folder.
func sleepers(t *testing.T, dataDir string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(text), "\x00"+ownCommand+"\x00sleep\x00"+dataDir+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	return pids
}

func TestRunOwnEndsWithTheCore(t *testing.T) {
	t.Parallel()
	host := probeHost(t)
	self, err := os.Executable()
	require.NoError(t, err)
	for _, how := range []string{"isolated", "trusted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dataDir, err := os.MkdirTemp("", "pd")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(dataDir)) })
			var said lockedBuilder
			core := exec.Command(self, ownCommand, "core", dataDir, how)
			core.Stderr, core.WaitDelay = &said, 100*time.Millisecond
			require.NoError(t, core.Start())
			t.Cleanup(func() {
				for _, pid := range sleepers(t, dataDir) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			require.Eventually(t, func() bool { return strings.Contains(said.String(), "sleeping\n") }, 30*time.Second, time.Millisecond)
			pids := sleepers(t, dataDir)
			require.Len(t, pids, 1)
			require.NoError(t, core.Process.Kill())
			require.ErrorContains(t, core.Wait(), "killed")
			require.Eventually(t, func() bool { return gone(pids[0]) }, 10*time.Second, time.Millisecond)

			sandbox, err := isolation.NewSandbox(host, dataDir) // as the next core does
			require.NoError(t, err)
			require.Empty(t, groupsBelow(t, dataDir))
			require.NoError(t, sandbox.Close())
		})
	}
}
