package isolation

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// envMark makes a copy of this binary give up privileges, as a confined process has, and sleep.
const envMark = "ISOLATION_TEST_MARK"

func TestMain(m *testing.M) {
	Main()
	if os.Getenv(envMark) != "" {
		sleepWithoutPrivileges()
	}
	goleak.VerifyTestMain(m)
}

func sleepWithoutPrivileges() {
	runtime.LockOSThread()
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil { // the mark is a thread's; a new program has it on all
		err = syscall.Exec("/bin/sleep", []string{"sleep", "1000"}, nil)
	}
	panic(err)
}

// sandbox makes one on a data folder of its own, after change has taken abilities from the host.
func sandbox(t *testing.T, change func(*abilities)) (*Sandbox, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pdiso")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	host := Probe()
	change(&host.can)
	s, err := NewSandbox(host, dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o700))
	return s, dir
}

// start runs a shell script in a cell.
func start(t *testing.T, s *Sandbox, dir, script string) (*Cell, *exec.Cmd, *bufio.Reader) {
	t.Helper()
	return startIn(t, s, Spec{Dir: "/usr/bin", Runtime: filepath.Join(dir, "run", "1")}, script)
}

// startIn does so with the spec's folders.
func startIn(t *testing.T, s *Sandbox, spec Spec, script string) (*Cell, *exec.Cmd, *bufio.Reader) {
	t.Helper()
	require.NoError(t, os.Mkdir(spec.Runtime, 0o700))
	spec.Name, spec.Executable, spec.Limits = "shell", "/bin/sh", Limits{PIDs: 100}
	cell, err := s.Cell(spec)
	require.NoError(t, err)
	cmd := cell.Command()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, lifeline, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = lifeline.Close() })
	cmd.ExtraFiles = []*os.File{alive}
	require.NoError(t, cell.Start(cmd))
	require.NoError(t, alive.Close())
	_, err = stdin.Write([]byte(script + "\n"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = cell.Close() })
	return cell, cmd, bufio.NewReader(stdout)
}

// Without a PID namespace the cgroup is what finds descendants that have left the process group.
func TestKillFindsDescendantsByTheirGroup(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*abilities){
		"cgroup.kill": func(a *abilities) { a.flags, a.mounts = 0, false },
		"one by one": func(a *abilities) {
			a.flags, a.mounts = 0, false
			var v1 []hierarchy
			for _, h := range a.groups {
				if h.version == 1 {
					v1 = append(v1, h)
				}
			}
			a.groups = v1
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dir := sandbox(t, change)
			if len(s.parents) == 0 {
				t.Skip("this machine does not let us make such cgroups: run the tests as root")
			}
			cell, cmd, out := start(t, s, dir, "setsid sleep 1000 & echo $!; sleep 1000")
			line, err := out.ReadString('\n')
			require.NoError(t, err)
			descendant, err := strconv.Atoi(strings.TrimSpace(line))
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(cmd.Process.Pid, syscall.SIGKILL))
			_ = cmd.Wait()
			require.NoError(t, syscall.Kill(descendant, 0), "it must have outlived its parent for this test to mean something")
			cell.Kill()
			require.Eventually(t, func() bool { return over(descendant) }, 10*time.Second, time.Millisecond)
			require.NoError(t, cell.Close())
			for _, group := range cell.group.dirs() {
				require.NoDirExists(t, group)
			}
		})
	}
}

func over(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestSweepEndsWhatAnEarlierRunLeft(t *testing.T) {
	t.Parallel()
	s, dir := sandbox(t, func(*abilities) {})
	cell, cmd, _ := start(t, s, dir, "sleep 1000")
	require.FileExists(t, filepath.Join(dir, "run", "1.json"))
	require.NoError(t, s.Sweep(filepath.Join(dir, "run")))
	require.Error(t, cmd.Wait(), "it was killed")
	for _, group := range cell.group.dirs() {
		require.NoDirExists(t, group)
	}
}

func TestSweepSparesWhoeverHasTheNumberNow(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sleep", "1000")
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), <-ended })
	began, err := startOf(cmd.Process.Pid)
	require.NoError(t, err)
	for name, r := range map[string]record{
		"another process": {PID: cmd.Process.Pid, Start: began + "1", Boot: bootID()},
		"another boot":    {PID: cmd.Process.Pid, Start: began, Boot: "other"},
		"not started":     {Boot: bootID()},
		"foreign group":   {Groups: []string{filepath.Dir(t.TempDir())}},
	} {
		r.file = filepath.Join(t.TempDir(), "1.json")
		require.NoError(t, r.save())
		require.NoError(t, (&Sandbox{}).Sweep(filepath.Dir(r.file)), name)
		require.False(t, over(cmd.Process.Pid), name)
	}
	garbage := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(garbage, "1.json"), []byte("{"), 0o600))
	require.NoError(t, (&Sandbox{}).Sweep(garbage), "a record that was not finished")
	require.False(t, over(cmd.Process.Pid))
}

// helper runs the hidden command as it is.
func helper(t *testing.T, o order, lifeline *os.File) (said string, err error) {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := exec.Command(self, helperName, string(text))
	cmd.ExtraFiles = []*os.File{lifeline}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestTheHelperEndsWhenTheCoreIsGone(t *testing.T) {
	t.Parallel()
	alive, lifeline, err := os.Pipe()
	require.NoError(t, err)
	said, err := helper(t, order{Executable: "/bin/true"}, alive)
	require.NoError(t, err, said)
	require.NoError(t, lifeline.Close())
	said, err = helper(t, order{Executable: "/bin/true"}, alive)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, exitHelper, exit.ExitCode())
	require.Contains(t, said, "the core has ended meanwhile")
	require.NoError(t, alive.Close())
}

func TestTheHelperSaysWhatItCouldNotDo(t *testing.T) {
	t.Parallel()
	alive, lifeline, err := os.Pipe()
	require.NoError(t, err)
	defer func() { require.NoError(t, errors.Join(alive.Close(), lifeline.Close())) }()
	said, err := helper(t, order{Executable: "/does/not/exist"}, alive)
	require.Error(t, err)
	require.Contains(t, said, "execute /does/not/exist")
	said, err = helper(t, order{Join: []string{"/does/not/exist"}}, alive)
	require.Error(t, err)
	require.Contains(t, said, "join the cgroup")
	said, err = helper(t, order{Landlock: &fence{Write: []string{"/does/not/exist"}}}, alive)
	require.Error(t, err)
	require.Contains(t, said, "confine to folders")
}

func TestUsers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users.json")
	few := userRange{first: 0x70000000, size: 3}
	u, err := openUsers(file, few)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, name := range []string{"blog", "billing", "hello"} {
		uid, err := u.of(name)
		require.NoError(t, err)
		require.True(t, few.contains(uid))
		require.False(t, seen[uid], "one each")
		seen[uid] = true
		again, err := openUsers(file, few)
		require.NoError(t, err)
		same, err := again.of(name)
		require.NoError(t, err)
		require.Equal(t, uid, same, "the next core finds it again")
	}
	_, err = u.of("one too many")
	require.ErrorContains(t, err, "fix:")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	_, err = openUsers(file, few)
	require.ErrorContains(t, err, "fix:", "to begin anew would give files to others")
}

func TestAUserThatExistsIsNeverTaken(t *testing.T) {
	t.Parallel()
	u, err := openUsers(filepath.Join(t.TempDir(), "users.json"), userRange{first: 0, size: 1})
	require.NoError(t, err)
	_, err = u.of("blog")
	require.Error(t, err, "0 is root")
}

func TestReachable(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "pdiso")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	inner := filepath.Join(dir, "inner")
	require.NoError(t, os.Mkdir(inner, 0o711))
	require.ErrorContains(t, reachable(inner, false), "fix: chmod o+x "+dir)
	require.NoError(t, letThrough(dir))
	require.NoError(t, reachable(inner, false))
	require.ErrorContains(t, reachable(inner, true), "fix: chmod o+rx "+inner)
	require.NoError(t, os.Chmod(inner, 0o755))
	require.NoError(t, reachable(inner, true))
	require.Error(t, reachable(filepath.Join(dir, "none"), false))
}

func TestGiveTreeTakesNothingFromOthers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	ours := userRange{first: 0x70000000, size: 10}
	put := func(name string, uid int) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chown(path, uid, uid))
		return path
	}
	left, formers, foreign := put("left", 0), put("formers", ours.first+1), put("foreign", 1234)
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	twice := filepath.Join(dir, "twice")
	require.NoError(t, os.Link(outside, twice))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, giveTree(dir, ours.first, ours))
	owner := func(path string) int {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return int(info.Sys().(*syscall.Stat_t).Uid) //nolint:errcheck,forcetypeassert // it panics, and so does the test
	}
	require.Equal(t, []int{ours.first, ours.first, ours.first}, []int{owner(dir), owner(left), owner(formers)})
	require.Equal(t, []int{1234, 0, 0}, []int{owner(foreign), owner(twice), owner(outside)})
}
