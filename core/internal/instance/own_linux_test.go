package instance_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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

// ownPlace is a module's place: on a data folder, at a level.
type ownPlace struct {
	ownRunner
	dataDir string
	level   isolation.Level
}

// ownAtEachLevel runs the test at every level that this machine has, and without isolation.
func ownAtEachLevel(t *testing.T, test func(t *testing.T, p ownPlace)) {
	t.Helper()
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		dataDir := t.TempDir()
		p := ownPlace{newOwnRunner(ownLauncher(t, nil, dataDir), instancetest.Spec(t, "spy")), dataDir, isolation.None}
		p.spec.Data = filepath.Join(dataDir, "modules", "spy")
		require.NoError(t, os.MkdirAll(p.spec.Data, 0o700)) // without isolation the module makes it
		test(t, p)
	})
	ownIsolated(t, test)
}

// ownIsolated runs the test at every level of isolation that this machine has.
func ownIsolated(t *testing.T, test func(t *testing.T, p ownPlace)) {
	t.Helper()
	for _, reachable := range []bool{true, false} {
		t.Run(fmt.Sprint("reachable ", reachable), func(t *testing.T) {
			t.Parallel()
			host := probeHost(t)
			launcher, dataDir := instancetest.Isolating(t, host)
			spec, level := instancetest.Spec(t, "spy"), isolation.Landlock
			if reachable {
				spec.Dir, spec.Executable = place(t)
				level = host.Level()
			}
			spec.Data = filepath.Join(dataDir, "modules", "spy")
			test(t, ownPlace{newOwnRunner(launcher, spec), dataDir, level})
		})
	}
}

func ownLauncher(t *testing.T, sandbox *isolation.Sandbox, dataDir string) *instance.Launcher {
	t.Helper()
	launcher, err := instance.NewLauncher(filepath.Join(dataDir, "run"), hclog.NewNullLogger(), sandbox)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, launcher.Close()) })
	return launcher
}

func (p ownPlace) try(t *testing.T, what, on string) string {
	t.Helper()
	answer, err := p.run(t.Context(), "", what, on)
	require.NoError(t, err)
	return answer
}

// tryAll does it in one process.
func (p ownPlace) tryAll(t *testing.T, all [][2]string) map[[2]string]string {
	t.Helper()
	input, err := json.Marshal(all)
	require.NoError(t, err)
	answer, err := p.run(t.Context(), string(input), "all")
	require.NoError(t, err)
	var said []string
	require.NoError(t, json.Unmarshal([]byte(answer), &said))
	require.Len(t, said, len(all))
	by := map[[2]string]string{}
	for i, attempt := range all {
		by[attempt] = said[i]
	}
	return by
}

// requireNothingLeft checks that no process of the place lives, and that no folder, record or cgroup of one is left.
func (p ownPlace) requireNothingLeft(t *testing.T) {
	t.Helper()
	require.Empty(t, processesWith(t, p.dataDir))
	left, err := os.ReadDir(filepath.Join(p.dataDir, "run"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Empty(t, cellsOf(t, p.dataDir))
}

// processesWith finds the processes with a word in their arguments, but for us.
func processesWith(t *testing.T, word string) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), word) { // of one that has ended nothing can be read, or nothing is there
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		if pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cellsOf finds the cgroups of the processes of a data folder.
func cellsOf(t *testing.T, dataDir string) (found []string) {
	t.Helper()
	id := fnv.New64a()
	_, _ = id.Write([]byte(dataDir))
	parent := "platformd-modules-" + hex.EncodeToString(id.Sum(nil))
	require.NoError(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		ours := strings.HasPrefix(filepath.Base(filepath.Dir(path)), parent) && strings.HasPrefix(filepath.Base(path), "spy-")
		if err == nil && d.IsDir() && ours {
			found = append(found, path)
		}
		return nil // others' come and go meanwhile
	}))
	return found
}

func TestRunOwnIsAtTheModulesPlace(t *testing.T) {
	t.Parallel()
	ownIsolated(t, func(t *testing.T, p ownPlace) {
		other := filepath.Join(p.dataDir, "modules", "other")
		require.NoError(t, os.MkdirAll(other, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(other, "other.db"), []byte("secret"), 0o644))
		secret := filepath.Join(p.dataDir, "core.db")
		require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o644))
		core := strconv.Itoa(os.Getpid())
		said := p.tryAll(t, [][2]string{
			{"read", filepath.Join(other, "other.db")}, {"list", other}, {"write", filepath.Join(other, "new")},
			{"read", secret}, {"write", secret}, {"list", p.dataDir}, {"read", "/etc/shadow"}, {"write", filepath.Join(p.spec.Dir, "new")},
			{"write", "/tmp/" + filepath.Base(p.dataDir)}, {"list", filepath.Join(p.dataDir, "run")},
			{"read", "/proc/" + core + "/environ"}, {"list", "/proc/" + core + "/fd"}, {"attach", core}, {"memory", core}, {"kill", core},
			{"execute", filepath.Join(p.spec.Data, "program")},
		})
		for attempt, said := range said {
			require.Contains(t, said, "refused: ", "%s", attempt)
		}
		require.Contains(t, p.try(t, "read", "/proc/self/status"), "NoNewPrivs:\t1")
		files, err := strconv.Atoi(p.try(t, "files", ""))
		require.NoError(t, err)
		require.Less(t, files, 300)
		p.requireNothingLeft(t)
	})
}

// What it leaves in the module's folder must be the module's, or the module could not use its own database afterwards.
func TestRunOwnIsTheModulesUser(t *testing.T) {
	t.Parallel()
	ownIsolated(t, func(t *testing.T, p ownPlace) {
		file := filepath.Join(p.spec.Data, "spy.db")
		require.Equal(t, "written", p.try(t, "write", file))
		uid := p.try(t, "id", "")
		require.Equal(t, p.level == isolation.Full, uid != strconv.Itoa(os.Getuid()), "user %s at level %s", uid, p.level)
		info, err := os.Stat(file)
		require.NoError(t, err)
		stat, ok := info.Sys().(*syscall.Stat_t)
		require.True(t, ok)
		require.Equal(t, uid, fmt.Sprint(stat.Uid))

		spec := p.spec
		spec.Output = func() io.WriteCloser { return &ownLog{} }
		module := cell{Instance: instancetest.LaunchSpec(t, p.launcher, spec)}
		require.Equal(t, uid, module.try(t, "id", ""))
		require.Equal(t, "x", module.try(t, "read", file))
		require.Equal(t, "written", module.try(t, "write", file))
		require.Equal(t, "written", p.try(t, "write", file), "also while the module runs")
	})
}

func TestRunOwnSeesNoVariables(t *testing.T) {
	t.Setenv("CANARY", "secret")
	ownAtEachLevel(t, func(t *testing.T, p ownPlace) {
		p.spec.Env = append(p.spec.Env, "TOKEN=of the module")
		seen := p.try(t, "environ", "")
		var names []string
		for entry := range strings.SplitSeq(seen, "\n") {
			name, _, _ := strings.Cut(entry, "=")
			names = append(names, name)
		}
		slices.Sort(names)
		require.Equal(t, []string{"GOGC", "GOMAXPROCS", "GOMEMLIMIT", "PLATFORMD_LIFELINE_FD", "TMPDIR"}, names)
	})
}

func TestRunOwnEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ownAtEachLevel(t, func(t *testing.T, p ownPlace) {
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := p.run(ctx, "", "hang", p.dataDir)
			ended <- err
		}()
		require.Eventually(t, func() bool { text, _ := p.log.read(); return text == "hanging\n" }, 20*time.Second, time.Millisecond)
		require.NotEmpty(t, processesWith(t, p.dataDir))
		reason := errors.New("the lock was lost")
		cancel(reason)
		select {
		case err := <-ended:
			require.ErrorIs(t, err, reason)
		case <-time.After(20 * time.Second):
			require.FailNow(t, "it lives")
		}
		p.requireNothingLeft(t)
		answer, err := p.run(t.Context(), "again", "echo")
		require.NoError(t, err)
		require.Equal(t, "again", answer)
	})
}

func TestRunOwnKilledByAnotherSaysSo(t *testing.T) {
	t.Parallel()
	ownAtEachLevel(t, func(t *testing.T, p ownPlace) {
		ended := make(chan error, 1)
		go func() {
			_, err := p.run(t.Context(), "", "hang", p.dataDir)
			ended <- err
		}()
		require.Eventually(t, func() bool { text, _ := p.log.read(); return text == "hanging\n" }, 20*time.Second, time.Millisecond)
		for _, pid := range processesWith(t, p.dataDir) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		require.EqualError(t, <-ended, "the process ended: signal killed")
		p.requireNothingLeft(t)
	})
}

func TestRunOwnOverItsLimitNamesIt(t *testing.T) {
	t.Parallel()
	limitsWork(t, "memory")
	launcher, dataDir := instancetest.Isolating(t, probeHost(t))
	spec := instancetest.Spec(t, "spy")
	spec.Dir, spec.Executable = place(t)
	r := newOwnRunner(launcher, spec)
	r.spec.Limits.Memory = 160 << 20
	_, err := r.run(t.Context(), "", "allocate", "")
	require.EqualError(t, err, "the process ended: oom (over its memory limit of 160 MiB)")
	require.Empty(t, cellsOf(t, dataDir))
}

// ownCoreCommand makes the test binary a core that runs our own binary in a module's place until it is killed.
const ownCoreCommand = "__own_core"

// ownCoreMain does not return in such a process. Its arguments are the data folder, the module's folder, its executable, and
// whether it is isolated.
func ownCoreMain() {
	if len(os.Args) != 6 || os.Args[1] != ownCoreCommand {
		return
	}
	fmt.Fprintln(os.Stderr, ownCore(os.Args[2], os.Args[5] == "true", instance.Spec{
		Name: "spy", Dir: os.Args[3], Executable: os.Args[4], Data: filepath.Join(os.Args[2], "modules", "spy"),
		Output: func() io.WriteCloser { return os.Stdout },
	}))
	os.Exit(1)
}

func ownCore(dataDir string, isolated bool, spec instance.Spec) error {
	var sandbox *isolation.Sandbox
	if isolated {
		made, err := isolation.NewSandbox(isolation.Probe(), dataDir)
		if err != nil {
			return err
		}
		sandbox = made
	}
	launcher, err := instance.NewLauncher(filepath.Join(dataDir, "run"), hclog.NewNullLogger(), sandbox)
	if err != nil {
		return err
	}
	_, err = launcher.RunOwn(context.Background(), spec, []string{ownCommand, "hang", dataDir}, nil)
	return errors.Join(errors.New("it ended"), err)
}

func TestRunOwnDiesWithTheCore(t *testing.T) {
	t.Parallel()
	for _, isolated := range []bool{true, false} {
		t.Run(fmt.Sprint("isolated ", isolated), func(t *testing.T) {
			t.Parallel()
			if isolated {
				probeHost(t)
			}
			dataDir, err := os.MkdirTemp("", "pd")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.RemoveAll(dataDir)) })
			require.NoError(t, os.MkdirAll(filepath.Join(dataDir, "modules", "spy"), 0o700))
			dir, executable := place(t)
			core := exec.Command(executable, ownCoreCommand, dataDir, dir, executable, strconv.FormatBool(isolated))
			said := &ownLog{}
			core.Stdout, core.Stderr = said, said
			core.WaitDelay = time.Second
			require.NoError(t, core.Start())
			require.Eventually(t, func() bool { text, _ := said.read(); return text != "" }, 20*time.Second, time.Millisecond)
			text, _ := said.read()
			require.Equal(t, "hanging\n", text)
			require.Greater(t, len(processesWith(t, dataDir)), 1)
			require.NoError(t, core.Process.Kill())
			require.ErrorContains(t, core.Wait(), "killed")
			require.Eventually(t, func() bool { return len(processesWith(t, dataDir)) == 0 }, 10*time.Second, time.Millisecond)
			sweepAfter(t, dataDir, isolated)
		})
	}
}

// sweepAfter begins as the next core does, and checks that nothing of the killed one is left.
func sweepAfter(t *testing.T, dataDir string, isolated bool) {
	t.Helper()
	p := ownPlace{dataDir: dataDir}
	var sandbox *isolation.Sandbox
	if isolated {
		require.NotEmpty(t, cellsOf(t, dataDir))
		var err error
		sandbox, err = isolation.NewSandbox(isolation.Probe(), dataDir)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, sandbox.Close()) })
	}
	ownLauncher(t, sandbox, dataDir)
	p.requireNothingLeft(t)
}
