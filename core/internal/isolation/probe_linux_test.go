package isolation

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A module of our own user that is in no namespace and no cgroup is known by its mark.
func TestThePeersMarkIsSeen(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(self)
	cmd.Env = []string{envMark + "=yes"}
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), <-ended })
	require.Eventually(t, func() bool {
		err := checkProcess(cmd.Process.Pid)
		return err != nil && strings.Contains(err.Error(), "given up privileges")
	}, 10*time.Second, time.Millisecond)
}

func TestWeAreNoModule(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer listener.Close()
	cmd := exec.Command("/bin/sleep", "1000")
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	require.NoError(t, checkProcess(cmd.Process.Pid), "a child of ours that nobody confined")
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	accepted, err := listener.AcceptUnix()
	require.NoError(t, err)
	defer accepted.Close()
	require.NoError(t, CheckPeer(accepted))
}

func TestStartOfReadsBehindAnyName(t *testing.T) {
	t.Parallel()
	start, err := startOf(os.Getpid())
	require.NoError(t, err)
	ticks, err := strconv.Atoi(start)
	require.NoError(t, err)
	require.Positive(t, ticks)
	_, err = startOf(1 << 30)
	require.Error(t, err)
}

func TestTheLevelIsWhatTheHostAllows(t *testing.T) {
	t.Parallel()
	groups := []hierarchy{{controllers: []string{"memory", "pids"}}}
	users := userRange{first: 1, size: 1}
	for level, all := range map[Level][]abilities{
		Full: {{landlock: 1, flags: 1, users: users, groups: groups}},
		Landlock: {
			{landlock: 7, flags: 1, users: users}, {landlock: 7, flags: 1, groups: groups}, {landlock: 7, users: users, groups: groups},
			{landlock: 7},
		},
		None: {{flags: 1, users: users, groups: groups}, {}},
	} {
		for _, can := range all {
			require.Equal(t, level, can.level(), "%+v", can)
		}
	}
}

func TestFindingsOfWhatIsMissingHaveFixes(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	for _, f := range append(Probe().Findings(), (&Host{}).landlockFinding()) {
		require.NotEmpty(t, f.Detail, f.Name)
		require.True(t, f.OK || f.Fix != "", f.Name)
		all.WriteString(f.Name + "\n")
	}
	require.Contains(t, all.String(), "pid namespace")
}
